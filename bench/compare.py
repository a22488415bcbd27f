# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Compare lfm_ros with llama.cpp, onnxruntime-genai and transformers on one machine.

Each engine is a process that loads its model once. In each round every engine in turn reads a
history and writes tokens behind it, in an order that rotates, and only one process runs at a
time. All get the same ids and as many threads. On a shared machine only what was measured in the
same round can be compared, so the medians of the ratios within a round count.

    python bench/compare.py --lfm chunk64=FOLDER --lfm chunk128=FOLDER \
        --lfm-options '{"prefill_chunk": 128}' --llama FILE --llama FILE:kv=q8_0,flash=on \
        --genai FOLDER --transformers FOLDER --python-peers PEERS/bin/python

A model is given as [NAME=]PATH[:key=value,...]; with the key longest=N the engine is left out
behind longer histories. The models: bench/make_models.py.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import signal
import sys
from typing import Any

from drivers.bandwidth import Bandwidth
from drivers.contestant import Contestant
from drivers.contestant import OURS
from drivers.process import DriverProcess
from drivers.report import tables
import numpy as np

# Ids that every vocabulary has and that are no special tokens.
IDS = (1000, 60000)
PEERS = {'llama': 'llama_cpp', 'genai': 'genai', 'transformers': 'transformers'}
LONGEST_OF_TRANSFORMERS = 1024
WARM_UP = 64


class Entry(argparse.Action):
    """Keep the engines in the order in which they are given."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option: str | None = None) -> None:
        """Add an engine, or options to the last one."""
        assert option
        engines: list[Contestant] = namespace.engines
        if option == '--lfm-options':
            if not engines or not engines[-1].ours:
                parser.error(f'{option} belongs behind its --lfm')
            json.loads(values)
            engines[-1].settings['options'] = values
            return
        added = Contestant.parse(PEERS.get(option[2:], OURS), values)
        if added.module == 'transformers' and not added.longest:
            added.longest = LONGEST_OF_TRANSFORMERS
        engines.append(added)


class Comparison:
    """Started engines and what was measured of them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._histories: list[int] = arguments.histories
        context = max(*self._histories, WARM_UP) + 2 * arguments.tokens + arguments.behind + 16
        self._bandwidth = Bandwidth(arguments.threads)
        self._engines: list[Contestant] = arguments.engines
        self._drivers: list[DriverProcess] = []
        self.result: dict[str, Any] = {
            'histories': self._histories, 'tokens': arguments.tokens, 'context': context,
            'threads': arguments.threads, 'behind': arguments.behind, 'rounds': [],
            'engines': []}

    def start(self) -> None:
        """Start every engine, one after the other."""
        for engine in self._engines:
            self._start(engine, self.result['context'])

    def round(self, number: int) -> None:
        """Measure every engine behind every history."""
        first = number % len(self._engines)
        places = [*range(first, len(self._engines)), *range(first)]
        note = {'load': os.getloadavg()[0], 'bandwidth': self._bandwidth.measure(),
                'order': [self._engines[i].name for i in places]}
        self.result['rounds'].append(note)
        for size in self._histories:
            ids = self._ids(size + self._arguments.behind, number)
            for place in places:
                longest = self._engines[place].longest
                if not longest or size <= longest:
                    self._measure(place, size, ids)

    def close(self) -> None:
        """End all engines."""
        for driver in self._drivers:
            driver.close()

    def _start(self, engine: Contestant, context: int) -> None:
        python = sys.executable if engine.ours else self._arguments.python_peers
        _say(f'loading {engine.name}')
        driver = DriverProcess(engine.module, python,
                               engine.arguments(self._arguments.threads, context))
        self._drivers.append(driver)
        with driver.awake():
            loaded = driver.ask('memory')
            driver.ask('prefill', ids=self._ids(WARM_UP, 0))
            driver.ask('decode', tokens=4)
        self.result['engines'].append({
            'name': engine.name, 'module': engine.module, 'ours': engine.ours,
            'settings': engine.settings, 'facts': driver.facts, 'bits': engine.bits(),
            'measured': {}, 'tokens': {}, 'memory': {'loaded': loaded}})

    def _measure(self, place: int, size: int, ids: Sequence[int]) -> None:
        driver, found = self._drivers[place], self.result['engines'][place]
        tokens, behind = self._arguments.tokens, self._arguments.behind
        measured = found['measured'].setdefault(
            str(size), {'prefill': [], 'decode': [], 'ttft': []})
        with driver.awake():
            prefill = driver.ask('prefill', ids=ids[:size])
            decode = driver.ask('decode', tokens=tokens)
            more = driver.ask('ttft', ids=ids[size:]) if behind else None
            if len(self.result['rounds']) == 1:
                found['memory'][str(size)] = driver.ask('memory')
        measured['prefill'].append(size / prefill['seconds'])
        measured['decode'].append(tokens / decode['seconds'])
        if more:
            measured['ttft'].append(more['seconds'])
        found['tokens'].setdefault(str(size), []).append(prefill['ids'] + decode['ids'])
        _say(f'  {found["name"]} at {size}: prefill {measured["prefill"][-1]:.0f}, '
             f'decode {measured["decode"][-1]:.1f} tokens/s')

    @staticmethod
    def _ids(count: int, seed: int) -> list[int]:
        return [int(i) for i in np.random.default_rng(seed).integers(*IDS, count)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print the tables and write all numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0].strip(), usage='%(prog)s ENGINE ... [options]')
    parser.set_defaults(engines=[])
    for option in ('lfm', 'lfm-options', *PEERS):
        parser.add_argument(f'--{option}', action=Entry, default=argparse.SUPPRESS,
                            metavar='JSON' if 'options' in option else '[NAME=]PATH[:key=value]')
    parser.add_argument('--python-peers', default=sys.executable,
                        help='the interpreter that has the other engines')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--tokens', type=int, default=64)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--histories', default=[512, 8192],
                        type=lambda text: sorted(int(size) for size in text.split(',')))
    parser.add_argument('--behind', type=int, default=0,
                        help='time to the first token for so many more tokens behind a history')
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    arguments = parser.parse_args()
    if not arguments.engines:
        parser.error('name an engine')
    if os.sep in arguments.python_peers:  # a link to the interpreter must stay one
        arguments.python_peers = os.path.abspath(arguments.python_peers)
    # Stopped engines would outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    comparison = Comparison(arguments)
    try:
        comparison.start()
        for number in range(arguments.rounds):
            _say(f'round {number + 1} of {arguments.rounds}')
            comparison.round(number)
            if arguments.json:
                arguments.json.write_text(json.dumps(comparison.result, indent=1) + '\n')
    finally:
        comparison.close()
    print(tables(comparison.result))


if __name__ == '__main__':
    main()
