# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share."""
from __future__ import annotations

import argparse
from typing import Any

from lfm_ros.engine.model import DEFAULT_CONTEXT
from lfm_ros.engine.model import Model
from lfm_ros.engine.model import ModelOptions
from lfm_ros.engine.sampling import RANGES
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.missions.scheduler import Defaults
from lfm_ros.missions.scheduler import Scheduler
from lfm_ros.missions.store import MissionStore

MOST_THREADS = 256


def add_talk_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `ask` and `chat` share."""
    parser.add_argument('--system', default='', help='system prompt')
    parser.add_argument('--mission', default='default', help='name of the mission')
    parser.add_argument('--max-tokens', type=int, default=256, help='longest answer')
    parser.add_argument('--timeout', type=float, default=0.0, help='seconds; 0: none')
    parser.add_argument('--stop', action='append', default=[], metavar='TEXT',
                        help='end the answer before this text; may be repeated')
    parser.add_argument('--context', type=int, default=DEFAULT_CONTEXT,
                        help='tokens of context; 0: as many as the model was made for')
    for name, (low, high, edge) in RANGES.items():
        parser.add_argument(f'--{name.replace("_", "-")}', dest=name,
                            type=int if isinstance(low, int) else float,
                            help=f'{low:g} to {high:g}; {edge}; default: as the model asks')
    parser.add_argument('--seed', type=int, help='the same seed gives the same answer')


def open_model(arguments: argparse.Namespace, context: int = 0, speaks: bool = True) -> Model:
    """Open the model that the arguments name."""
    if not 0 <= arguments.threads <= MOST_THREADS:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--threads is {arguments.threads}: set it '
                       f'between 0 (one per core) and {MOST_THREADS}')
    if context < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--context is {context}: set it to 16 or more, '
                       'or to 0')
    options = ModelOptions(variant=arguments.variant, threads=arguments.threads,
                           context_length=context)
    return Model(arguments.model, options, speaks)


def open_scheduler(arguments: argparse.Namespace) -> Scheduler:
    """Open a model and all that is needed to talk with it."""
    sampling = sampling_of(arguments)
    for name, value in sampling.items():
        if value < 0:  # over ROS a negative number means the default, here it is a mistake
            raise LfmError(ErrorCode.INVALID_SAMPLING,
                           f'--{name.replace("_", "-")} is {value:g}: it cannot be negative')
    if arguments.max_tokens < 1:
        raise LfmError(ErrorCode.INVALID_VALUE,
                       f'--max-tokens is {arguments.max_tokens}: set it to 1 or more')
    model = open_model(arguments, arguments.context)
    defaults = Defaults(model.sampling.changed(sampling), arguments.max_tokens)
    return Scheduler(MissionStore(model, arguments.system), defaults=defaults)


def sampling_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling fields that were given."""
    given = {name: getattr(arguments, name) for name in (*RANGES, 'seed')}
    return {k: v for k, v in given.items() if v is not None}
