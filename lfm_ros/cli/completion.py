# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Editing of lines on a terminal, with completion of commands and of paths behind them."""
from __future__ import annotations

from collections.abc import Sequence
import glob
import os


def install(commands: Sequence[str]) -> None:
    """Give :func:`input` line editing, where this Python has it; the tab key completes."""
    try:
        import readline
    except ImportError:
        return
    readline.set_completer_delims('')  # a line is completed as a whole: names have spaces
    readline.set_completer(lambda line, number: dict(
        enumerate(candidates(line, commands))).get(number))
    readline.parse_and_bind('tab: complete')


def candidates(line: str, commands: Sequence[str]) -> list[str]:
    """Return what a line that begins with a slash can become."""
    if not line.startswith('/'):
        return []
    command, space, path = line.partition(' ')
    if not space:
        return [f'{name} ' if name == '/image' else name for name in commands
                if name.startswith(line)]
    if command != '/image':
        return []
    path = path.lstrip()
    quote = path[0] if path[:1] in ('"', "'") else ''
    start = path[len(quote):]
    found = sorted(glob.glob(glob.escape(os.path.expanduser(start)) + '*'))
    home = os.path.expanduser('~')
    if start.startswith('~/'):
        found = ['~' + name.removeprefix(home) for name in found]
    return [f'{command} {quote}{name}' + ('/' if os.path.isdir(os.path.expanduser(name))
                                          else quote) for name in found]
