# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure the endpoint: what a turn reads of its conversation, what HTTP costs, and many clients.

    python bench/endpoint.py MODEL [--turns 20] [--clients 32] [--minutes 10]
"""
from __future__ import annotations

import argparse
from pathlib import Path
import statistics
import sys
import threading
import time
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'test' / 'support')]

from endpoint import Endpoint  # noqa: E402
from endpoint import running_endpoint  # noqa: E402, I100
from endpoint import SYSTEM  # noqa: E402
from endpoint import user  # noqa: E402
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.engine.sampling import Sampling  # noqa: E402
from lfm_ros.prepare.open_model import open_prepared  # noqa: E402
from lfm_ros.serving.mission_store import MissionStore  # noqa: E402
from lfm_ros.serving.query import Query  # noqa: E402
from lfm_ros.serving.query import RequestDefaults  # noqa: E402
from lfm_ros.serving.scheduler import Scheduler  # noqa: E402

LINES = ['The {0} is at waypoint {1}.', 'Where is the {0}?', 'Thank you.']
THINGS = ['dock', 'pump', 'red box', 'ladder', 'toolbox', 'camera', 'door']


def text(number: int) -> str:
    """Return what is said in a turn."""
    return LINES[number % 3].format(THINGS[number // 3 % len(THINGS)], 3 + number * 7 % 90)


def conversation(endpoint: Endpoint, turns: int) -> None:
    """Print what each turn of a conversation read, and how much of it was there."""
    messages: list[Any] = [SYSTEM]
    read = whole = 0
    for number in range(turns):
        messages.append(user(text(number)))
        found = endpoint.chat(messages)
        messages.append(found['choices'][0]['message'])
        usage = found['usage']
        cached = usage['prompt_tokens_details']['cached_tokens']
        whole += usage['prompt_tokens']
        read += usage['prompt_tokens'] - cached
    print(f'{turns} turns: {read} prompt tokens read of {whole} that were sent, '
          f'{1 - read / whole:.1%} were there; {read / turns:.1f} a turn', flush=True)


def overhead(endpoint: Endpoint, model: str, rounds: int = 30) -> None:
    """Print what HTTP adds to an answer of one token, in turn with the same without it."""
    store = MissionStore(open_prepared(model, ModelOptions(threads=1)), SYSTEM['content'])
    scheduler = Scheduler(store, defaults=RequestDefaults(Sampling(temperature=0.0), 1))
    added = []
    try:
        for number in range(rounds):
            started = time.perf_counter()
            endpoint.chat([SYSTEM, user('Where?')], max_tokens=1, lfm_mission=f'm{number}')
            between = time.perf_counter()
            scheduler.submit(Query('Where?', f'm{number}')).wait()
            added.append(1000 * (2 * between - started - time.perf_counter()))
    finally:
        scheduler.stop()
    print(f'HTTP adds {statistics.median(added):.2f} ms to an answer (median of {rounds})')


def many(endpoint: Endpoint, clients: int, minutes: float) -> None:
    """Have many clients hold conversations; print what became of them, and the memory."""
    end = time.monotonic() + 60 * minutes
    counts = {'answered': 0, 'refused': 0, 'failed': 0}
    lock = threading.Lock()

    def hold(client: int) -> None:
        messages: list[Any] = [SYSTEM]
        number = client
        while time.monotonic() < end:
            messages.append(user(text(number)))
            status, found = endpoint.request('POST', '/v1/chat/completions', {
                'model': endpoint.model, 'messages': messages, 'max_tokens': 16,
                'stream': number % 2 == 1})
            kind = 'answered' if status == 200 else 'refused' if status == 429 else 'failed'
            with lock:
                counts[kind] += 1
            if kind == 'answered' and number % 2 == 0:
                messages.append(found['choices'][0]['message'])
            else:
                messages.pop()
            number += 1
            if len(messages) > 20:
                del messages[1:]

    threads = [threading.Thread(target=hold, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(60, max(1.0, end - time.monotonic())))
        status = Path(f'/proc/{endpoint.process.pid}/status').read_text()
        rss = next(line for line in status.splitlines() if line.startswith('VmRSS'))
        print(f'{counts}, {int(rss.split()[1]) // 1024} MB', flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('model')
    parser.add_argument('--turns', type=int, default=20)
    parser.add_argument('--clients', type=int, default=32)
    parser.add_argument('--minutes', type=float, default=10.0)
    arguments = parser.parse_args()
    with running_endpoint('--system', SYSTEM['content'], '--queue', '64', model=arguments.model
                          ) as endpoint:
        conversation(endpoint, arguments.turns)
        overhead(endpoint, arguments.model)
        many(endpoint, arguments.clients, arguments.minutes)


if __name__ == '__main__':
    main()
