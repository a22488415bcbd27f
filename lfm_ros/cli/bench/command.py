# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure speed and memory of a model on this machine, or of two side by side.

Each model runs in its own process, --rounds times. After each history of --contexts it processes
a turn of 20 tokens, prefills --prefill tokens and decodes --decode tokens, --rounds times; two
models alternate, and both are in memory. Medians are reported.

Histories are random tokens that are really prefilled. That takes as long as it takes a mission to
get there: some minutes for 32,768 tokens on a small board, with the progress on a terminal. With
--pretend the state has that length and its memory is allocated, but it is filled with zeros:
speed and memory are the same, in seconds.

turn     time from a turn of 20 tokens to the first token of its answer
state    memory of one mission, including the unused capacity of its buffers
RSS      resident memory of the process
private  the part of RSS that no other process shares
peak     the highest RSS during prefill and decode after this history
"""
from __future__ import annotations

import argparse
from contextlib import closing
from contextlib import ExitStack
import statistics
from typing import Any

from lfm_ros.cli.bench.child import Child
from lfm_ros.cli.bench.machine import machine
from lfm_ros.cli.bench.measure import needed
from lfm_ros.cli.bench.measure import TURN
from lfm_ros.cli.bench.plot import Plot
from lfm_ros.cli.bench.table import print_table
from lfm_ros.cli.bench.table import ratios
from lfm_ros.cli.options import check_context
from lfm_ros.cli.output import print_error
from lfm_ros.cli.output import print_json
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('model2', metavar='MODEL2', nargs='?',
                        help='a second model to compare with')
    parser.add_argument('--contexts', default='0,512,4096,32768', metavar='LIST',
                        help='tokens of history at which to measure')
    parser.add_argument('--context-length', dest='context', type=int, default=argparse.SUPPRESS,
                        help=argparse.SUPPRESS)  # its name before there was --context
    parser.add_argument('--prefill', type=int, default=256, metavar='N', help='tokens to prefill')
    parser.add_argument('--decode', type=int, default=32, metavar='N', help='tokens to decode')
    parser.add_argument('--rounds', type=int, default=3, metavar='N',
                        help='number of repetitions, of which the median is reported')
    parser.add_argument('--plain', action='store_true', help='measure the original graph instead '
                        'of the one prepared for this machine')
    parser.add_argument('--pretend', action='store_true',
                        help='do not prefill the histories, only allocate states of that length')
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
    settings = {'contexts': wanted, 'turn': TURN, 'context_length': arguments.context,
                **{name: getattr(arguments, name) for name in (
                    'variant', 'prefill', 'decode', 'rounds', 'pretend', 'plain')}}
    result: dict[str, Any] = {
        'machine': about, 'settings': settings,
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
        print_error(arguments.prog, f'a row could not be measured: {failure}')
    if plot and (failure := plot.draw(result)):
        failures.append(failure)
        print_error(arguments.prog, failure)
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
    check_context(arguments.context)
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
    measured = needed(arguments)
    places: list[set[int]] = [set() for _ in children]
    contexts = [child.about['context_length'] for child in children]
    said = []
    for history in wanted:
        able = [i for i, context in enumerate(contexts) if max(history, measured) <= context]
        if not able:
            continue
        place = min(history, *(contexts[i] - measured for i in able))
        if place < history:
            said.append(f'{history} is measured at {place}, as close to the end of the context as '
                        'possible')
        for i in able:
            places[i].add(place)
    if not any(places):
        raise LfmError(ErrorCode.INVALID_VALUE, 'nothing fits the context of '
                       f'{max(contexts)} tokens: lower --contexts, --prefill or --decode')
    for context in sorted(set(contexts)):
        left_out = [str(history) for history in wanted if max(history, measured) > context]
        if left_out:
            names = [c.about['model'] for c in children if c.about['context_length'] == context]
            said.append(f'left out {", ".join(left_out)}: {context} tokens are the context of '
                        + ' and '.join(names))
    if said:
        print_error(arguments.prog, '; '.join(said))
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
