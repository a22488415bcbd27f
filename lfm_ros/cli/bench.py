# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measure speed and memory of a model on this machine."""
from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

from lfm_ros.cli.options import open_model
from lfm_ros.cli.output import print_json
from lfm_ros.engine.model import Model
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import rss_bytes
import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('--contexts', default='0,512,2048',
                        help='tokens of history at which to measure (default: %(default)s)')
    parser.add_argument('--prefill', type=int, default=256, help='tokens to read in one go')
    parser.add_argument('--decode', type=int, default=32, help='tokens to write in one go')
    parser.add_argument('--rounds', type=int, default=3, help='the median of so many is printed')


def run(arguments: argparse.Namespace) -> int:
    """Measure and print a table."""
    try:
        contexts = sorted({int(c) for c in arguments.contexts.split(',')})
    except ValueError:
        raise LfmError(ErrorCode.INVALID_VALUE, f"--contexts is '{arguments.contexts}': write "
                       'numbers with commas between') from None
    if min(arguments.prefill, arguments.decode, arguments.rounds) < 1 or contexts[0] < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, 'a size is too small: --prefill, --decode and '
                       '--rounds are 1 or more, --contexts 0 or more')
    started = time.perf_counter()
    model = open_model(arguments, speaks=False)
    result: dict[str, Any] = {
        'model': model.name, 'graph': model.folder.graph.name,
        'load_seconds': time.perf_counter() - started, 'rss_after_load_bytes': rss_bytes()}
    most = model.context_length - arguments.prefill - arguments.decode
    too_long = [c for c in contexts if c > most]
    contexts = [c for c in contexts if c <= most]
    if not contexts:
        raise LfmError(ErrorCode.INVALID_VALUE, 'nothing fits the context of '
                       f'{model.context_length} tokens: lower --contexts, --prefill or --decode')
    if too_long:
        print(f'{arguments.prog}: left out {", ".join(map(str, too_long))}: with --prefill and '
              f'--decode the context holds {most} tokens of history', file=sys.stderr)
    model.warm_up()
    result['rows'] = [measure(model, c, arguments.prefill, arguments.decode, arguments.rounds)
                      for c in contexts]
    if arguments.json:
        print_json(result)
        return 0
    print(f"{result['model']}/{result['graph']}: loaded in {result['load_seconds']:.2f} s, "
          f"RSS {result['rss_after_load_bytes'] / 1e6:.0f} MB")
    print(f"{'history':>8} {'prefill tok/s':>14} {'decode tok/s':>13} {'state MB':>9} "
          f"{'RSS MB':>7}")
    for row in result['rows']:
        print(f"{row['history']:>8} {row['prefill_tokens_per_second']:>14.0f} "
              f"{row['decode_tokens_per_second']:>13.1f} {row['state_bytes'] / 1e6:>9.1f} "
              f"{row['rss_bytes'] / 1e6:>7.0f}")
    return 0


def measure(model: Model, history: int, prefill: int, decode: int, rounds: int
            ) -> dict[str, Any]:
    """Read and write tokens behind a history; return medians over the rounds."""
    random = np.random.default_rng(0)
    state = model.new_state()
    _read(model, state, random.integers(0, model.vocabulary, history))
    mark = state.mark()
    speeds: dict[str, list[float]] = {'prefill': [], 'decode': []}
    for _ in range(rounds):
        ids = random.integers(0, model.vocabulary, prefill)
        started = time.perf_counter()
        token = _read(model, state, ids)
        between = time.perf_counter()
        for _ in range(decode):
            token = int(model.runner.run(state, [token])[-1].argmax())
        speeds['decode'].append(decode / (time.perf_counter() - between))
        speeds['prefill'].append(prefill / (between - started))
        size = state.nbytes
        state.restore(mark)
    return {'history': history, 'state_bytes': size, 'rss_bytes': rss_bytes(),
            'prefill_tokens_per_second': statistics.median(speeds['prefill']),
            'decode_tokens_per_second': statistics.median(speeds['decode'])}


def _read(model: Model, state: Any, ids: np.ndarray) -> int:
    token = 0
    for chunk in model.chunks(ids.tolist()):
        token = int(model.runner.run(state, chunk)[-1].argmax())
    return token
