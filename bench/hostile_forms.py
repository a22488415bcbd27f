#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Send hostile forms and tools to a node over ROS, and see whether it stays what it was.

Starts the real node with the model `demo`. Forms and tools come from a seed, so a case has the
same number in every run; a third of them are ordinary and must be answered rightly. Meanwhile a
plain answer streams without a pause.

    python bench/hostile_forms.py --forms 100000 --tools 10000 --minutes 9 --start 0
    python bench/hostile_forms.py --planner          the first and second answer with a schema

It stops by itself and says from which case to go on. The exit status is 1 when a fault was found.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import sys
import threading
import time

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in
                ('test/support', 'examples')]
from hostile_attack import Attack  # noqa: E402
from hostile_attack import Result  # noqa: E402
from hostile_attack import Stream  # noqa: E402
from hostile_requests import Case  # noqa: E402
from hostile_requests import form_case  # noqa: E402
from hostile_requests import tools_case  # noqa: E402
from node_client import Client  # noqa: E402
from node_support import running_node  # noqa: E402
import planner_times  # noqa: E402
from process_tree import descendants  # noqa: E402
from process_tree import Member  # noqa: E402
from process_tree import Usage  # noqa: E402
from process_tree import usage  # noqa: E402

QUIET = 20.0    # seconds for which the stream is watched without an attack
SETTLE = 5.0    # seconds after the attack until what is left is counted
MOST_MARKS = 4
MOST_GROWTH = 64 << 20  # bytes of RSS


class Watcher:
    """Follows the processes of a node: what they take at marks, and which were ever there."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.marks: list[tuple[str, Usage]] = []
        self.seen: set[Member] = set()
        self.most = usage(pid)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def mark(self, name: str) -> None:
        """Note what the processes take now."""
        self.marks.append((name, usage(self.pid)))

    def stop(self) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join()

    def left_over(self) -> list[Member]:
        """Return the processes that still run, to be asked when the node has ended."""
        return [member for member in self.seen if member.alive]

    def _follow(self) -> None:
        while not self._end.wait(0.25):
            self.seen.update(descendants(self.pid))
            now = usage(self.pid)
            self.most = Usage(*(max(a, b) for a, b in zip(vars(self.most).values(),
                                                          vars(now).values())))


def maker(seed: int, forms: int, tools: int) -> Callable[[int], Case]:
    """Return what gives the case of a number; tools are spread evenly among the forms."""
    def make(number: int) -> Case:
        before = number * tools // (forms + tools)
        if (number + 1) * tools // (forms + tools) > before:
            return tools_case(f'{seed} tools {before}')
        return form_case(f'{seed} form {number - before}')
    return make


def percentiles(seconds: list[float]) -> str:
    """Return a line of milliseconds."""
    found = sorted(1000 * s for s in seconds)
    if not found:
        return 'no tokens'
    return '  '.join(f'{name} {found[min(len(found) - 1, int(share * len(found)))]:.1f} ms'
                     for name, share in (('p50', 0.5), ('p99', 0.99), ('max', 1.0)))


def watch_stream(client: Client, work: Callable[[], object]) -> Stream:
    """Let a plain answer stream while something is done."""
    with Stream(client) as stream:
        work()
    return stream


def attack_node(client: Client, arguments: argparse.Namespace) -> tuple[Attack, Watcher, int]:
    """Attack a node and print what is known while the node lives."""
    total = arguments.forms + arguments.tools
    attack = Attack(client, maker(arguments.seed, arguments.forms, arguments.tools),
                    arguments.at_once)
    client.ask('Hello.', max_tokens=2)
    quiet = watch_stream(client, lambda: time.sleep(arguments.quiet))
    watcher = Watcher(client.node_process.process.pid)
    watcher.mark('start')
    seconds, started = 60 * arguments.minutes, time.monotonic()
    lock = threading.Lock()

    def on_sent(count: int) -> None:
        done = max(count / max(1, total - arguments.start),
                   (time.monotonic() - started) / seconds)
        with lock:
            quarter = len(watcher.marks)
            if quarter < MOST_MARKS and done >= quarter / MOST_MARKS:
                watcher.mark(f'{quarter}/{MOST_MARKS}')

    found: list[int] = []
    busy = watch_stream(client, lambda: found.append(attack.run(
        range(arguments.start, total), started + seconds, on_sent)))
    seconds = time.monotonic() - started
    if attack.alive:
        time.sleep(SETTLE)
        watcher.mark('end')
    watcher.stop()
    print(f'{attack.result.sent} of {total} cases in {seconds:.0f} s, '
          f'{attack.result.sent / seconds:.1f} a second; next: --start {found[0]}')
    print(f'gaps of a plain stream, quiet:  {percentiles(quiet.gaps)} ({quiet.answers} answers)')
    print(f'gaps of a plain stream, attack: {percentiles(busy.gaps)} ({busy.answers} answers, '
          f'{len(busy.errors)} failed)')
    if attack.alive:
        attack.result.faults += [f'the plain stream failed: {each}' for each in busy.errors[:5]]
    return attack, watcher, found[0]


def print_result(result: Result, watcher: Watcher) -> None:
    """Print the tables."""
    print('error codes: ' + ', '.join(f'{c}: {n}' for c, n in sorted(result.codes.items())))
    print('ordinary cases: ' + ', '.join(f'{n} {k}' for k, n in sorted(result.ordinary.items())))
    print('longest after its timeout: ' + ', '.join(
        f'{name} {over:+.2f} s' for over, name in result.overruns[:3]))
    print(f'{"":10}{"node MB":>9}{"files":>7}{"children":>10}{"their MB":>10}{"files":>7}')
    for name, each in [*watcher.marks, ('most', watcher.most)]:
        print(f'{name:10}{each.own_rss >> 20:9}{each.own_files:7}{each.children:10}'
              f'{each.child_rss >> 20:10}{each.child_files:7}')


def growth(marks: list[tuple[str, Usage]]) -> list[str]:
    """Return what grew from the first quarter, when all is warm, to the end, when all is quiet."""
    early, late = dict(marks).get(f'1/{MOST_MARKS}', marks[0][1]), marks[-1][1]
    return [f'{name} grew from {getattr(early, name)} to {getattr(late, name)}' for name, most in (
        ('children', 1), ('own_files', 8), ('own_rss', MOST_GROWTH), ('child_rss', MOST_GROWTH))
        if getattr(late, name) > getattr(early, name) + most]


def run(arguments: argparse.Namespace) -> int:
    """Attack a fresh node; return the exit status."""
    with running_node(model='', model__path='demo', queue__size=100, check_end=False) as client:
        process = client.node_process.process
        attack, watcher, _ = attack_node(client, arguments)
        print_result(attack.result, watcher)
        faults = attack.result.faults
        if not attack.alive:
            faults.insert(0, f'the node ended with {process.wait()} while it had these: '
                          f'{attack.in_flight}')
        else:
            faults += growth(watcher.marks)
            client.node_process.stop()
    time.sleep(0.5)
    faults += [f'process {m.pid} outlived the node' for m in watcher.left_over()]
    for fault in faults[:20]:
        print('FAULT', fault)
    print(f'{len(faults)} faults')
    return int(bool(faults))


def main() -> int:
    """Do what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--forms', type=int, default=1000)
    parser.add_argument('--tools', type=int, default=100)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--start', type=int, default=0, help='number of the first case')
    parser.add_argument('--minutes', type=float, default=9.0)
    parser.add_argument('--at-once', type=int, default=3, help='queries in flight')
    parser.add_argument('--quiet', type=float, default=QUIET, help='seconds before the attack')
    parser.add_argument('--planner', action='store_true', help='measure answers with a schema')
    parser.add_argument('--starts', type=int, default=5, help='fresh nodes for --planner')
    arguments = parser.parse_args()
    return planner_times.main(arguments.starts) if arguments.planner else run(arguments)


if __name__ == '__main__':
    sys.exit(main())
