# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Write a copy of a model that can do more.

Its graph gives logits after as many last tokens as are asked for, gives out its windows after
every token, and decodes for several missions in one call; it says the same as before. Only
--kv and --prefill change numbers; what they cost is measured and printed. The node and the other
verbs make the lossless edits by themselves, in a cache.
"""
from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
import sys
from typing import Any

from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare import SLOTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('model', metavar='MODEL', help="model folder, .onnx file or 'demo'")
    parser.add_argument('out', metavar='OUT', type=Path, help='new folder for the copy')
    parser.add_argument('--variant', default='', help='which graph of the folder: q4, q8, '
                        'fp32, fp16, ... or a file name')
    parser.add_argument('--portable', action='store_true', help='write out operators that ONNX '
                        'Runtime 1.23 (Python 3.10) lacks')
    parser.add_argument('--kv', choices=['int8'], default='', help='keep keys and values in 8 '
                        'bits: a quarter of their memory; changes numbers')
    parser.add_argument('--calibration', metavar='FILE', type=Path, help='text to set the scales '
                        'with and to measure on; default: a conversation with a robot')
    parser.add_argument('--prefill', choices=['fast'], default='', help='add a graph that reads '
                        'prompts faster and takes all weights again; changes numbers')
    parser.add_argument('--slots', type=int, default=SLOTS, metavar='N',
                        help=f'most missions that decode in one call; default: {SLOTS}')


def run(arguments: argparse.Namespace) -> int:
    """Write the copy and print what was done to what."""
    if find_spec('onnx') is None:
        raise LfmError(ErrorCode.UNSUPPORTED, "the Python package onnx is missing: run 'pip "
                       "install onnx'")
    from lfm_ros.prepare.folder import prepare
    from lfm_ros.prepare.folder import Wishes
    if arguments.calibration and not (arguments.kv or arguments.prefill):
        raise LfmError(ErrorCode.INVALID_VALUE, '--calibration changes nothing without --kv or '
                       '--prefill: leave it out')
    wishes = Wishes(arguments.portable, arguments.kv, arguments.prefill, arguments.slots,
                    arguments.calibration)
    with _progress() as bar:
        report = prepare(arguments.model, arguments.out, arguments.variant, wishes, bar.update)
    if arguments.json:
        print_json({'path': str(arguments.out), **asdict(report)})
        return 0
    for name, text in report.edits.items():
        print_text(f'{name:<12} {text}')
    for name, cost in (('kv', report.kv), ('prefill', report.prefill)):
        if cost:
            print_text(f'{name + " costs":<12} {_cost(cost)}')
    for file, size in report.files.items():
        if file.endswith(('.onnx', '.data')):
            print_text(f'{"file":<12} {file} {size / 1e6:,.1f} MB')
    return 0


def _cost(cost: dict[str, Any]) -> str:
    size = f"{cost['bytes'] / 1e6:,.1f} MB; " if 'bytes' in cost else ''
    return (f"{size}log-probabilities differ by {cost['mean']:.4f} on average and "
            f"{cost['worst']:.3f} at worst, the best token is the same in "
            f"{cost['same_best']:.1%} of {cost['tokens']:.0f} places; loss "
            f"{cost['loss_before']:.4f} before, {cost['loss']:.4f} now")


def _progress() -> Any:
    """Return a bar for bytes, shown on a terminal only."""
    from tqdm import tqdm
    return tqdm(desc='weights', unit='B', unit_scale=True, disable=not sys.stderr.isatty(),
                leave=False)
