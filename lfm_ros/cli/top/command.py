# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Watch a running node: its model, memory, queue, speed and missions.

The view updates until q or ctrl-C is pressed; into a pipe, or with --once, it is printed once.
This is the only verb that needs ROS 2.
"""
from __future__ import annotations

import argparse
from importlib import import_module
import signal
from typing import Any

from lfm_ros.cli.output import print_json
from lfm_ros.cli.top.keys import Keys
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError

TIMEOUT = 5.0  # seconds to wait for a node
DIAGNOSTICS_TIMEOUT = 2.0  # the node sends them once a second
PERIOD = 0.5  # seconds between two views


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('--node', default='/lfm', metavar='NAME', help='name of the node, with '
                        'its namespace (default: %(default)s)')
    parser.add_argument('--once', action='store_true', help='print the view once')


def run(arguments: argparse.Namespace) -> int:
    """Show the node until q or ctrl-C, or once."""
    watcher_class = _needed('lfm_ros.cli.top.node', 'a running node is reached through ROS 2, '
                            'which is not available', 'source its setup file and that of the '
                            'workspace with lfm_ros').Watcher
    # print_json needs nothing; the view does.
    view_class = None if arguments.json else _needed(
        'lfm_ros.cli.top.view', 'the view cannot be drawn', "run 'pip install rich', or take "
        '--json').View
    try:
        with watcher_class(arguments.node) as watcher:
            _await(watcher)
            if view_class is None:
                print_json(watcher.json())
            else:
                _show(view_class(watcher), arguments.once)
    except KeyboardInterrupt:  # the way to leave
        pass
    return 0


def _needed(module: str, missing: str, advice: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise LfmError(ErrorCode.NOT_ACTIVE, f'{missing} ({error}): {advice}') from error


def _await(watcher: Any) -> None:
    """Wait for the first messages of the node."""
    watcher.listen(TIMEOUT, lambda: watcher.status)
    if not watcher.status:
        others = watcher.others()
        hint = f'there is {few(others)}, name it with --node' if others else \
            'check that it is started, with the same ROS_DOMAIN_ID, and its name (--node)'
        raise LfmError(ErrorCode.NOT_ACTIVE, f'no node {watcher.name} in ROS domain '
                       f'{watcher.domain} after {TIMEOUT:g} s: {hint}')
    watcher.listen(DIAGNOSTICS_TIMEOUT, lambda: watcher.diagnostics)


def _show(view: Any, once: bool) -> None:
    if once or not view.is_live:
        view.print()
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the terminal is put in order
    keys = Keys()
    with keys, view:
        while not keys.pressed('qQ'):
            view.refresh()
            view.watcher.listen(PERIOD)
