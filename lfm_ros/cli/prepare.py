# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Write an optimized copy of a model.

Its graph computes logits only for the tokens that need them, returns the convolution windows after
every token, and decodes several missions in one batch; results stay the same. Only --kv and
--prefill change results; by how much is measured and printed. The node and the other verbs make
the lossless changes automatically, in a cache.
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
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import DEVICES
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare import DEFAULT_LANES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('model', metavar='MODEL', help="model folder, .onnx file or 'demo'")
    parser.add_argument('out', metavar='OUT', type=Path, help='new folder for the copy')
    parser.add_argument('--variant', default='', help='which graph of the folder: q4, q8, '
                        'fp32, fp16, ... or a file name')
    parser.add_argument('--portable', action='store_true', help='replace operators that ONNX '
                        'Runtime 1.23 (Python 3.10) lacks')
    parser.add_argument('--kv', choices=['int8'], default='', help='store keys and values in 8 '
                        'bits, a quarter of their memory; changes results slightly')
    parser.add_argument('--calibration', metavar='FILE', type=Path, help='text for calibration '
                        'and for measuring the accuracy; default: a conversation with a robot')
    parser.add_argument('--prefill', choices=['fast'], default='', help='add a graph with faster '
                        'prefill and its own copy of the weights; changes results slightly')
    parser.add_argument('--provider', default=CPU, metavar='NAME', help='execution provider that '
                        'will run it, as CUDAExecutionProvider: for a GPU it computes in fp16; '
                        'the machine that prepares it needs none; default: the CPU')
    parser.add_argument('--slots', type=int, default=DEFAULT_LANES, metavar='N',
                        help=f'maximum batch size for decoding; default: {DEFAULT_LANES}')


def run(arguments: argparse.Namespace) -> int:
    """Write the copy and print what was done to what."""
    if find_spec('onnx') is None:
        raise LfmError(ErrorCode.UNSUPPORTED, "the Python package onnx is missing: run 'pip "
                       "install onnx'")
    from lfm_ros.prepare.folder import prepare
    from lfm_ros.prepare.folder import PrepareOptions
    if arguments.calibration and not (arguments.kv or arguments.prefill):
        raise LfmError(ErrorCode.INVALID_VALUE, '--calibration changes nothing without --kv or '
                       '--prefill: leave it out')
    for_device = arguments.provider in DEVICES
    if for_device and (arguments.kv or arguments.prefill):
        raise LfmError(ErrorCode.INVALID_VALUE, '--kv and --prefill make graphs for the CPU: '
                       'leave them or --provider out')
    if not (for_device or arguments.provider == CPU):
        raise LfmError(ErrorCode.INVALID_VALUE, f'nothing is prepared for {arguments.provider}: '
                       f'choose from {", ".join((CPU, *DEVICES))}')
    options = PrepareOptions(arguments.portable, arguments.kv, arguments.prefill, arguments.slots,
                             arguments.calibration, for_device)
    with _progress() as bar:
        report = prepare(arguments.model, arguments.out, arguments.variant, options, bar.update)
    if arguments.json:
        print_json({'path': str(arguments.out), **asdict(report)})
        return 0
    for name, text in report.edits.items():
        print_text(f'{name:<12} {text}')
    for name, cost in (('kv', report.kv), ('prefill', report.prefill),
                       ('float16', report.float16)):
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
