# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Answer one to four missions at once, and read a long prompt beside an answer.

All goes through the scheduler of a node. Each client has a mission of its own with the same
history; its answers are asides, so that this stays. In each round one client is alone and then
two, three and four ask at the same moment, in an order that rotates; on a shared machine only the
ratios within a round can be compared, and their median counts. Prompt lookup is off.

    python bench/together.py MODEL [--history 512] [--tokens 64] [--rounds 7] [--long 2000]
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
import json
from pathlib import Path
import statistics
import threading
import time
from typing import Any

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.capabilities import PREFILL_CHUNK
from lfm_ros.engine.sampling import Sampling
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.serving import scheduler as scheduling
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.request import Request
from lfm_ros.serving.running_request import RunningRequest
from lfm_ros.serving.running_requests import RunningRequests
from lfm_ros.serving.scheduler import Scheduler
import numpy as np

CLIENTS = 4
LINE = 'Seen on round {0}: box {1} at waypoint {2}, beside shelf {3} of the north hall. '
QUESTION = 'What did you see there?'
BEGUN = 8  # tokens of an answer before the long prompt comes
WAIT = 600.0


class TimedRequests(RunningRequests):
    """
    Running requests that note when the tokens of each mission come.

    Pieces of text would not do: tokens that end within a character have none.
    """

    times: dict[str, list[float]] = {}
    begun = threading.Event()

    def _advance(self, turn: RunningRequest) -> None:
        answer = turn.turn.generation if turn.turn else None
        before = len(answer.ids) if answer else 0
        super()._advance(turn)
        answer = turn.turn.generation if turn.turn else None
        if answer and len(answer.ids) > before:
            found = self.times.setdefault(turn.mission_id, [])
            found.append(time.perf_counter())
            if len(found) == BEGUN:
                self.begun.set()


def text_of(model: Model, tokens: int) -> str:
    """Return a text of about so many tokens, never more."""
    found: list[str] = []
    left = tokens
    while True:
        n = len(found)
        line = LINE.format(n, n * 37 % 101, n * 53 % 211, n * 29 % 17)
        left -= len(model.tokenizer.encode(line))
        if left < 0:
            return ''.join(found)
        found.append(line)


def answered(requests: Sequence[Request]) -> None:
    """Wait for answers; the first error ends everything."""
    for request in requests:
        answer = request.wait(WAIT)
        if answer.error_code:
            raise SystemExit(f'together: [{answer.error_code}] {answer.error_msg}')


def gaps(times: Sequence[float]) -> list[float]:
    """Return the milliseconds between tokens."""
    return [1000 * (b - a) for a, b in zip(times, times[1:])]


def ask_all(scheduler: Scheduler, missions: Sequence[str]) -> dict[str, Any]:
    """Ask all these missions at the same moment; return what they got."""
    TimedRequests.times.clear()
    gate = threading.Event()
    held = scheduler.submit_job(lambda: gate.wait(WAIT))
    requests = [scheduler.submit(Query(QUESTION, name, aside=True)) for name in missions]
    started = time.perf_counter()
    gate.set()
    held.result(WAIT)
    answered(requests)
    times = [TimedRequests.times[name] for name in missions]
    # While all of them write: their questions are read, and none has come to its end.
    begin, end = max(t[0] for t in times), min(t[-1] for t in times)
    written = sum(begin < moment <= end for t in times for moment in t)
    return {'writing': written / (end - begin),
            'in_all': sum(map(len, times)) / (max(t[-1] for t in times) - started),
            'gaps': [gap for t in times for gap in gaps(t)],
            'first': [1000 * (t[0] - started) for t in times]}


def clients(scheduler: Scheduler, missions: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Return a row for one client, for two and so on; the first round does not count."""
    counts = list(range(1, len(missions) + 1))
    found: dict[int, list[dict[str, Any]]] = {n: [] for n in counts}
    for number in range(rounds + 1):
        turned = number % len(counts)
        for n in counts[turned:] + counts[:turned]:
            result = ask_all(scheduler, missions[:n])
            if number:
                found[n].append(result)
    rows = []
    for n, results in found.items():
        row: dict[str, Any] = {'clients': n}
        for kind in ('writing', 'in_all'):
            row[kind] = round(statistics.median(r[kind] for r in results), 2)
            row[f'{kind}_ratio'] = round(statistics.median(
                r[kind] / one[kind] for r, one in zip(results, found[1])), 3)
        between = [gap for r in results for gap in r['gaps']]
        row['gap_p50'], row['gap_p95'] = (round(float(p), 2)
                                          for p in np.percentile(between, (50, 95)))
        row['first_token'] = round(statistics.median(f for r in results for f in r['first']), 2)
        rows.append(row)
    return rows


def beside_a_prompt(scheduler: Scheduler, mission: str, prompt: str, tokens: int,
                    rounds: int) -> dict[str, float]:
    """Return the milliseconds between the tokens of an answer while a long prompt is read."""
    during: list[list[float]] = []
    alone: list[float] = []
    seconds: list[float] = []
    usage = None
    for number in range(rounds + 1):
        TimedRequests.times.clear()
        TimedRequests.begun.clear()
        answering = scheduler.submit(Query(QUESTION, mission, aside=True, max_tokens=tokens))
        if not TimedRequests.begun.wait(WAIT):
            raise SystemExit('together: there was no answer')
        came = time.perf_counter()
        reading = scheduler.submit(Query(prompt, 'reader', aside=True, max_tokens=1))
        answered([answering, reading])
        usage = reading.answer.usage if reading.answer else None
        times, read = TimedRequests.times[mission], TimedRequests.times['reader'][0]
        if times[-1] < read:
            raise SystemExit('together: the answer ended before the prompt was read, use more '
                             '--tokens')
        if number:  # the first round does not count
            # The token that is written when the prompt has been read still waited for it.
            last = next(place for place, moment in enumerate(times) if moment >= read)
            first = next(place for place, moment in enumerate(times) if moment >= came)
            during.append(gaps(times[first - 1:last + 1]))
            alone += gaps(times[:first]) + gaps(times[last:])
            seconds.append(read - came)
    assert usage
    longest = [max(some) for some in during]
    return {'prompt_tokens': usage.prompt_tokens, 'seconds_to_read': statistics.median(seconds),
            'gap_p50': statistics.median(gap for some in during for gap in some),
            'longest_gap': max(longest), 'longest_gap_median': statistics.median(longest),
            'gap_alone_p50': statistics.median(alone), 'gap_alone_longest': max(alone)}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all that is measured."""
    chunk = PREFILL_CHUNK
    beside = max(arguments.tokens, 2 * BEGUN + 2 * (arguments.long // chunk))
    room = max(arguments.history + beside, arguments.long) + 128
    model = open_prepared(arguments.model, ModelOptions(
        threads=arguments.threads, context_length=room, prompt_lookup=False),
        cache_dir=arguments.cache_dir)
    model.end_ids = frozenset()  # every answer gets its length
    if model.runner.max_batch_size < CLIENTS:
        most = max(1, model.runner.max_batch_size)
        raise SystemExit(f'together: {model.name} answers {most} at once, its graphs cannot be '
                         'prepared for more')
    missions = [f'client {number}' for number in range(1, CLIENTS + 1)]
    scheduling.RunningRequests = TimedRequests  # type: ignore[misc]
    scheduler = Scheduler(MissionStore(model), parallel=CLIENTS, defaults=RequestDefaults(
        Sampling(temperature=0.0, min_p=0.0, repetition_penalty=1.0), arguments.tokens))
    try:
        told = text_of(model, arguments.history)
        answered([scheduler.submit(Query(told, missions[0], max_tokens=1))])
        for name in missions[1:]:
            scheduler.submit_job(partial(scheduler.store.fork, missions[0], name)).result(WAIT)
        history = scheduler.submit_job(lambda: len(
            scheduler.store.get(missions[0]).ids)).result(WAIT)
        rows = clients(scheduler, missions, arguments.rounds)
        prompt = beside_a_prompt(scheduler, missions[0], text_of(model, arguments.long), beside,
                                 arguments.rounds)
    finally:
        scheduler.stop()
    return {'model': model.name, 'history': history, 'tokens': arguments.tokens,
            'rounds': arguments.rounds, 'clients': rows,
            'beside_a_prompt': {name: round(value, 3) for name, value in prompt.items()}}


def show(result: dict[str, Any]) -> None:
    """Print it."""
    print(f'{result["model"]}, {result["history"]} tokens of history, {result["rounds"]} rounds, '
          f'{result["tokens"]} tokens a client')
    print(f'{"clients":>8}{"t/s all write":>15}{"ratio":>8}{"t/s in all":>12}{"ratio":>8}'
          f'{"between tokens p50":>20}{"p95 (ms)":>10}{"first token (ms)":>18}')
    for row in result['clients']:
        print(f'{row["clients"]:8}{row["writing"]:15.1f}{row["writing_ratio"]:8.3f}'
              f'{row["in_all"]:12.1f}{row["in_all_ratio"]:8.3f}{row["gap_p50"]:20.1f}'
              f'{row["gap_p95"]:10.1f}{row["first_token"]:18.1f}')
    print('all write: while every client writes; in all: from the questions to the last token\n')
    row = result['beside_a_prompt']
    print(f'while another prompt of {row["prompt_tokens"]:.0f} tokens is read '
          f'({row["seconds_to_read"]:.2f} s): longest time between two tokens '
          f'{row["longest_gap"]:.1f} ms\n(median of the rounds {row["longest_gap_median"]:.1f}, '
          f'of all gaps {row["gap_p50"]:.1f}); alone: median {row["gap_alone_p50"]:.1f}, longest '
          f'{row["gap_alone_longest"]:.1f} ms')


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('model', help='folder of the model, or demo')
    parser.add_argument('--history', type=int, default=512)
    parser.add_argument('--tokens', type=int, default=64, help='of each answer')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--long', type=int, default=2000, help='tokens of the long prompt')
    parser.add_argument('--threads', type=int, default=0)
    parser.add_argument('--cache-dir', type=Path, help='with prepared graphs, or for them')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments = parser.parse_args()
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == '__main__':
    main()
