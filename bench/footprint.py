# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure a whole node: seconds to its first answer, its memory, and the wait for a first token.

The node is a process of its own, asked over the real middleware. It is started once so that its
graphs are prepared, which is printed apart, and then as often as --starts says. The last of these
nodes stays: its mission grows to --tokens tokens, then fresh missions and the long one are asked
in turn, in asides, so that both stay as long as they are.

    python bench/footprint.py MODEL [--context N] [--tokens 4096] [--turns 9] [--starts 3]
        [--cache-dir FOLDER] [-p queue.parallel:=1 ...]
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import math
from pathlib import Path
import statistics
import sys
import tempfile
import threading
import time
from typing import Any

from lfm_ros import srv
from lfm_ros.errors import ErrorCode
from lfm_ros.msg import MissionStatus
from lfm_ros.msg import Query
from lfm_ros.msg import Response
from lfm_ros.msg import Sampling
import responsiveness

MAX_LENGTH = 900.0  # seconds for a start that prepares the graphs, or for one prompt
LINE = 'Seen on round {0}: box {1} at waypoint {2}, beside shelf {3} of the north hall. '
LINES = 16  # of one prompt
QUESTION = 'Where was the red box seen last, and what stood beside it?'
PREFILL_ATTENTION = 'long'
MB = 1 << 20


class Node(responsiveness.Node):
    """
    A node that was just started.

    :param arguments: more arguments for the node.
    :ivar seconds: from the start of the process to its first answer.
    """

    def __init__(self, model: str, arguments: Sequence[str]) -> None:
        started = time.perf_counter()
        super().__init__(model, list(arguments))
        self._ask = self.node.create_client(srv.Ask, '/lfm/ask')
        self._delete = self.node.create_client(srv.DeleteMission, '/lfm/missions/delete')
        try:
            while not self._ask.service_is_ready():
                self._check(started)
                time.sleep(0.005)
            while self.ask('Hello.', PREFILL_ATTENTION).error_code == ErrorCode.NOT_ACTIVE:
                self._check(started)
                time.sleep(0.005)
        except BaseException:
            self.stop()
            raise
        self.seconds = time.perf_counter() - started

    def ask(self, prompt: str, mission: str, aside: bool = False) -> Response:
        """Return the answer, of one token."""
        query = Query(prompt=prompt, mission_id=mission, aside=aside, max_tokens=1,
                      timeout=MAX_LENGTH, sampling=Sampling(temperature=0.0))
        found = self._result(self._ask.call_async(srv.Ask.Request(query=query))).response
        if found.error_code not in (ErrorCode.NONE, ErrorCode.NOT_ACTIVE):
            raise SystemExit(f'footprint: [{found.error_code}] {found.error_msg}')
        return found

    def delete(self, mission: str) -> None:
        """Delete a mission."""
        if not self._delete.wait_for_service(responsiveness.DEADLINE):
            raise SystemExit('footprint: missions cannot be deleted')
        self._result(self._delete.call_async(srv.DeleteMission.Request(mission_id=mission)))

    def mission(self, name: str) -> MissionStatus:
        """Return what ~/status, too, tells of a mission."""
        missions = self.call('missions/list')[1].missions
        return next(m for m in missions if m.mission_id == name)

    def memory(self) -> dict[str, float]:
        """Return what the process holds, in MiB."""
        folder = Path('/proc', str(self.process.pid))
        lines = (folder / 'smaps_rollup').read_text().splitlines()[1:]
        lines += [s for s in (folder / 'status').read_text().splitlines() if s.endswith(' kB')]
        found = {name.rstrip(':'): int(size) << 10 for name, size, _ in map(str.split, lines)}
        private = found['Private_Clean'] + found['Private_Dirty']
        sizes = {'rss': found['Rss'], 'private': private, 'dirty': found['Private_Dirty'],
                 'peak': found['VmHWM']}
        return {name: round(size / MB, 1) for name, size in sizes.items()}

    def _result(self, future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        started = time.perf_counter()
        while not done.wait(1.0):
            self._check(started)
        return future.result()

    def _check(self, started: float) -> None:
        if self.process.poll() is not None or time.perf_counter() > started + MAX_LENGTH:
            raise SystemExit('footprint: the node gives no answer, see its messages above')


def grow(node: Node, tokens: int) -> None:
    """Tell the long mission so much that it holds at least so many tokens."""
    number, each = 0, 0.0
    while (left := tokens - (before := node.mission(PREFILL_ATTENTION).tokens)) > 0:
        count = min(LINES, math.ceil(left / each)) if each else 1
        lines = [LINE.format(n, n * 37 % 101, n * 53 % 211, n * 29 % 17)
                 for n in range(number, number + count)]
        number += count
        node.ask(''.join(lines), PREFILL_ATTENTION)
        each = (node.mission(PREFILL_ATTENTION).tokens - before) / count


def first_tokens(node: Node, turns: int) -> dict[str, Any]:
    """Return the milliseconds to the first token, in fresh missions and in the long one."""
    answers: dict[str, list[Response]] = {'fresh': [], PREFILL_ATTENTION: []}
    for turn in range(turns + 1):
        name = f'fresh {turn}'
        for kind, mission in (('fresh', name), (PREFILL_ATTENTION, PREFILL_ATTENTION)):
            answers[kind].append(node.ask(QUESTION, mission, aside=True))
        node.delete(name)
    found: dict[str, Any] = {}
    for kind, some in answers.items():
        usages = [answer.usage for answer in some[1:]]  # the first one finds no memory ready
        found[kind] = {
            'prompt_tokens': usages[0].prompt_tokens, 'history': usages[0].cached_tokens,
            'ms': round(1000 * statistics.median(u.time_to_first_token for u in usages), 2)}
    found['ratio'] = round(statistics.median(
        a.usage.time_to_first_token / b.usage.time_to_first_token
        for a, b in zip(answers[PREFILL_ATTENTION][1:], answers['fresh'][1:])), 3)
    return found


def measure(arguments: argparse.Namespace, for_node: Sequence[str]) -> dict[str, Any]:
    """Start nodes one after the other; return all that is measured."""
    node = Node(arguments.model, for_node)
    found: dict[str, Any] = {'first_start': {'seconds': round(node.seconds, 2)}}
    try:
        found['first_start'].update(node.memory())
    finally:
        node.stop()
    seconds: list[float] = []
    for start in range(arguments.starts):
        node = Node(arguments.model, for_node)
        try:
            seconds.append(round(node.seconds, 3))
            if start + 1 < arguments.starts:
                continue
            found['starts'] = seconds
            found['seconds_to_first_answer'] = statistics.median(seconds)
            found['after_first_answer'] = node.memory()
            grow(node, arguments.tokens)
            found['tokens'] = node.mission(PREFILL_ATTENTION).tokens
            found['state'] = round(node.mission(PREFILL_ATTENTION).bytes / MB, 1)
            found['after_tokens'] = node.memory()
            found['first_token'] = first_tokens(node, arguments.turns)
        finally:
            node.stop()
    return found


def show(found: dict[str, Any]) -> None:
    """Print it."""
    first = found['first_start']
    print(f'first start, prepares the graphs unless they are: {first["seconds"]:.2f} s')
    print(f'from the start of the process to the first answer: '
          f'{found["seconds_to_first_answer"]:.2f} s (median of {found["starts"]})')
    print(f'\n{"MiB":38}{"RSS":>9}{"private":>9}{"of it dirty":>13}{"peak":>9}')
    for title, row in (('after the first answer, first start', first),
                       ('after the first answer', found['after_first_answer']),
                       (f'with a mission of {found["tokens"]} tokens', found['after_tokens'])):
        print(f'{title:38}{row["rss"]:9.1f}{row["private"]:9.1f}{row["dirty"]:13.1f}'
              f'{row["peak"]:9.1f}')
    print(f'the state of this mission: {found["state"]:.1f} MiB\n')
    times = found['first_token']
    for kind in ('fresh', PREFILL_ATTENTION):
        row = times[kind]
        print(f'first token of {row["prompt_tokens"]} tokens behind {row["history"]:5}: '
              f'{row["ms"]:8.2f} ms')
    print(f'ratio {times["ratio"]:.3f}')


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('model', help='folder of the model, or demo')
    parser.add_argument('--context', type=int, default=0,
                        help='model.context_length of the node; 0: what --tokens needs')
    parser.add_argument('--tokens', type=int, default=4096, help='of the long mission')
    parser.add_argument('--turns', type=int, default=9, help='first tokens of each kind')
    parser.add_argument('--starts', type=int, default=3, help='starts that count')
    parser.add_argument('--cache-dir', help='with prepared graphs, or for them; without, they '
                        'are prepared in a folder that is deleted afterwards')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments, for_node = parser.parse_known_args()
    if arguments.starts < 1 or arguments.turns < 1:
        parser.error('--starts and --turns are 1 at least')
    if arguments.model != 'demo':
        arguments.model = str(Path(arguments.model).resolve())
    context = arguments.context or arguments.tokens + 256
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(arguments.cache_dir or temporary).resolve()
        found = measure(arguments, ['-p', f'model.context_length:={context}',
                                    '-p', f'model.cache_dir:={cache}', *for_node])
    result = {'model': Path(arguments.model).name, 'context': context, **found}
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f'{result["model"]}, context {context} tokens')
        show(result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
