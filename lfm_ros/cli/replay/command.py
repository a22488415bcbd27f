# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask a model again what was recorded in bags, and compare its answers with the recorded ones.

BAG is a folder of `ros2 bag record`, or one of its .mcap or .db3 files. The queries, prompts and
observations of a node are asked in their order and by their missions, with their images and their
own sampling; what they leave open is as the options here say, whatever the node had. Each bag
begins without missions.

With --topic, --ask is asked of the frames of a camera in any bag.

With --out every result is a line of JSON, written at once; the same command goes on where an
earlier one was stopped. Status 1: an answer is different, or has an error that it had not.
"""
from __future__ import annotations

import argparse
from importlib.util import find_spec
import math
from pathlib import Path

from lfm_ros.cli.options import add_answer_arguments
from lfm_ros.cli.options import add_model_arguments
from lfm_ros.cli.options import add_vision_arguments
from lfm_ros.cli.options import check_answer_arguments
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

_PACKAGES = {'mcap': 'mcap', 'mcap_ros2': 'mcap-ros2-support'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('bags', metavar='BAG', nargs='+', type=Path,
                        help='folder or file of a recording')
    add_model_arguments(parser)
    parser.add_argument('--out', metavar='FILE', type=Path, help='file for the results, one JSON '
                        'object in each line; it is continued if it exists')
    parser.add_argument('--node', default='', metavar='NAME', help='the node whose questions are '
                        'asked, with its namespace, as /lfm; default: the only one in the bag')
    parser.add_argument('--topic', default='', metavar='NAME', help='ask of the frames of this '
                        'topic instead, of sensor_msgs/Image or CompressedImage')
    parser.add_argument('--every', type=float, default=0.0, metavar='SECONDS', help='with '
                        '--topic: of the bag between two frames; 0: all frames')
    parser.add_argument('--ask', default='', metavar='TEXT', help='with --topic: the question; - '
                        'reads it from standard input')
    parser.add_argument('--schema', default='', metavar='JSON', help='with --topic: JSON schema '
                        'of the answer, or a file with one')
    parser.add_argument('--ray', default='', metavar='ADDRESS', help='spread the bags over a '
                        'cluster of Ray, as 10.0.0.1:6379, auto, or local for one on this '
                        'machine; all its machines see BAG and MODEL under the same names')
    parser.add_argument('--ray-workers', type=int, default=0, metavar='N', help='with --ray: '
                        'models that are open at once; 0: one per machine')
    add_vision_arguments(parser)
    add_answer_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask what was recorded, and report."""
    _check(arguments)
    needed = {**_PACKAGES, **({'ray': 'ray'} if arguments.ray else {})}
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        raise LfmError(ErrorCode.UNSUPPORTED, f'the Python package {missing[0]} is missing: run '
                       f"'pip install {' '.join(needed.values())}'")
    from lfm_ros.cli.replay.work import replay
    return replay(arguments)


def _check(arguments: argparse.Namespace) -> None:
    check_answer_arguments(arguments)
    for option in ('every', 'ask', 'schema'):
        if getattr(arguments, option) and not arguments.topic:
            raise LfmError(ErrorCode.INVALID_VALUE, f'--{option} is given without --topic: name '
                           'the topic of a camera, or leave it out')
    if arguments.topic and not arguments.ask.strip():
        raise LfmError(ErrorCode.EMPTY_PROMPT, '--topic is given without --ask: give the question '
                       'in quotes')
    if arguments.topic and arguments.node:
        raise LfmError(ErrorCode.INVALID_VALUE, '--topic and --node are both given: leave one of '
                       'them out')
    if arguments.ray_workers < 0 or arguments.ray_workers and not arguments.ray:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--ray-workers is {arguments.ray_workers}: set '
                       'it to 1 or more, together with --ray')
    if not (math.isfinite(arguments.every) and arguments.every >= 0):
        raise LfmError(ErrorCode.INVALID_VALUE, f'--every is {arguments.every:g}: set it to 0 or '
                       'more seconds')
