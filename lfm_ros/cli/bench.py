# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure speed and memory of a model on this machine, or of two side by side.

Each model is opened in a process of its own, --rounds times. Behind each history of --contexts it
reads a turn of 20 tokens, reads --prefill tokens and writes --decode tokens, --rounds times; two
models take turns, and both are in memory. Medians are given.

The histories are random tokens that are really read. That takes as long as it takes a mission to
get there: some minutes for 32,768 tokens on a small board, with the progress on a terminal. With
--pretend the state has that length and its memory is written to, but it holds zeros instead of
what was read: speed and memory are the same, in seconds.

turn     time from a turn of 20 tokens to the first token of its answer
state    what one mission takes, the unused room of its buffers included
RSS      resident memory of the process
private  what of RSS is in no other process; of libraries, only what this process alone has open
peak     the highest RSS while it read and wrote behind this history
"""
from __future__ import annotations

import argparse
from contextlib import closing
from contextlib import ExitStack
import statistics
import sys
from typing import Any

from lfm_ros.cli.bench_child import Child
from lfm_ros.cli.bench_machine import machine
from lfm_ros.cli.bench_measure import needed
from lfm_ros.cli.bench_measure import TURN
from lfm_ros.cli.bench_plot import Plot
from lfm_ros.cli.bench_table import print_table
from lfm_ros.cli.bench_table import ratios
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('model2', metavar='MODEL2', nargs='?',
                        help='another model, to be set beside the first')
    parser.add_argument('--contexts', default='0,512,4096,32768',
                        help='tokens of history at which to measure (default: %(default)s)')
    parser.add_argument('--context-length', type=int, default=0, metavar='N', help='tokens of '
                        'context, as model.context_length of the node; default: as many as the '
                        'model was made for')
    parser.add_argument('--prefill', type=int, default=256,
                        help='tokens to read in one go (default: %(default)s)')
    parser.add_argument('--decode', type=int, default=32,
                        help='tokens to write in one go (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=3,
                        help='the median of so many is given (default: %(default)s)')
    parser.add_argument('--plain', action='store_true', help='measure the graph as it is, not '
                        'prepared for this machine as the node does it')
    parser.add_argument('--pretend', action='store_true',
                        help='do not read the histories, only have states of that length')
    parser.add_argument('--plot', metavar='FILE', help='draw memory, decode speed and turn '
                        'latency against history: out.png, .svg or .pdf; needs matplotlib')


def run(arguments: argparse.Namespace) -> int:
    """Measure and print a table."""
    wanted = _check(arguments)
    plot = None if arguments.plot is None else Plot(arguments.plot)
    about = machine(arguments.threads)
    names = [arguments.model] if arguments.model2 is None else [arguments.model, arguments.model2]
    with ExitStack() as opened:
        children, places = _open(arguments, names, wanted, opened)
        for history in sorted(set().union(*places)):
            _measure([child for child, there in zip(children, places) if history in there],
                     history, arguments.rounds)
    settings = {name: getattr(arguments, name) for name in (
        'variant', 'context_length', 'prefill', 'decode', 'rounds', 'pretend', 'plain')}
    result: dict[str, Any] = {
        'machine': about, 'settings': {'contexts': wanted, 'turn': TURN, **settings},
        'models': [{**child.about, 'failure': child.failure} for child in children],
        'rows': [{'model': which, **row} for which, child in enumerate(children)
                 for row in child.rows.values()]}
    if len(children) == 2:
        result['ratios'] = ratios(result)
    if arguments.json:
        print_json(result)
    else:
        print_table(result)
    failures = [child.failure for child in children if child.failure]
    for failure in failures:
        print_text(f'{arguments.prog}: a row could not be measured: {failure}', file=sys.stderr)
    if plot:
        plot.draw(result)
    return 1 if failures else 0


def _check(arguments: argparse.Namespace) -> list[int]:
    """Return the histories that are asked for."""
    try:
        wanted = sorted({int(c) for c in arguments.contexts.split(',')})
    except ValueError:
        raise LfmError(ErrorCode.INVALID_VALUE, f"--contexts is '{arguments.contexts[:80]}': "
                       'write numbers with commas between') from None
    if min(arguments.prefill, arguments.decode, arguments.rounds) < 1 or wanted[0] < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, 'a size is too small: --prefill, --decode and '
                       '--rounds are 1 or more, --contexts 0 or more')
    if arguments.context_length < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--context-length is {arguments.context_length}: '
                       'set it to 16 or more, or to 0')
    return wanted


def _open(arguments: argparse.Namespace, names: list[str], wanted: list[int], opened: ExitStack
          ) -> tuple[list[Child], list[set[int]]]:
    """Open the models, as many times as there are rounds, and find where each is measured."""
    loads: list[list[float]] = [[] for _ in names]
    children: list[Child] = []
    places: list[set[int]] = []
    for _ in range(arguments.rounds):
        for child in children:
            child.close()
        children = [opened.enter_context(closing(
            Child(argparse.Namespace(**{**vars(arguments), 'model': name})))) for name in names]
        places = places or _places(arguments, children, wanted)
        for seconds, child in zip(loads, children):
            seconds.append(child.about['load_seconds'])
    for seconds, child in zip(loads, children):
        child.about['load_seconds'] = statistics.median(seconds)
    return children, places


def _places(arguments: argparse.Namespace, children: list[Child], wanted: list[int]
            ) -> list[set[int]]:
    """Return the histories of each model, and say which are none."""
    room = needed(arguments)
    places: list[set[int]] = [set() for _ in children]
    contexts = [child.about['context_length'] for child in children]
    said = []
    for history in wanted:
        able = [i for i, context in enumerate(contexts) if max(history, room) <= context]
        if not able:
            continue
        place = min(history, *(contexts[i] - room for i in able))
        if place < history:
            said.append(f'{history} is measured at {place}, as near to the end of the context as '
                        'can be')
        for i in able:
            places[i].add(place)
    if not any(places):
        raise LfmError(ErrorCode.INVALID_VALUE, 'nothing fits the context of '
                       f'{max(contexts)} tokens: lower --contexts, --prefill or --decode')
    for context in sorted(set(contexts)):
        left_out = [str(history) for history in wanted if max(history, room) > context]
        if left_out:
            names = [c.about['model'] for c in children if c.about['context_length'] == context]
            said.append(f'left out {", ".join(left_out)}: {context} tokens are the context of '
                        + ' and '.join(names))
    if said:
        print_text(f'{arguments.prog}: {"; ".join(said)}', file=sys.stderr)
    return places


def _measure(children: list[Child], history: int, rounds: int) -> None:
    """Measure a row of each model, in turn."""
    for child in children:
        child.go_to(history)
    for _ in range(rounds):
        for child in children:
            child.round()
    for child in children:
        child.end_row()
