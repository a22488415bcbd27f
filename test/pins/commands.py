# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The commands `lfm` and `ros2 lfm`: their verbs, options, defaults and choices."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
import sys
from types import ModuleType
from typing import Any

from internals import parser
from pins.package import entry_points

_TYPES: dict[Any, str] = {int: 'int', float: 'float', Path: 'Path'}


def collect() -> dict[str, Any]:
    """Return the arguments of all verbs."""
    with _ros2cli():
        verbs = {name: _verb(place) for name, place in entry_points()['ros2lfm.verb'].items()}
    return {'lfm': describe(parser()), 'ros2 lfm': {'verbs': verbs}}


def describe(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the arguments of a command; texts for people are left out."""
    found: dict[str, Any] = {'positional': [], 'options': {}, 'verbs': {}}
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            found['verbs'] = {name: describe(child) for name, child in action.choices.items()}
        elif action.option_strings:
            found['options'][' '.join(action.option_strings)] = _argument(action)
        else:
            found['positional'].append({'name': action.dest, **_argument(action)})
    found['one of'] = [[' '.join(action.option_strings) for action in group._group_actions]
                       for group in parser._mutually_exclusive_groups]
    return {name: part for name, part in found.items() if part}


def _argument(action: argparse.Action) -> dict[str, Any]:
    kind = action.type
    told = {
        'name': action.dest, 'takes': action.nargs, 'default': action.default,
        'choices': list(action.choices) if action.choices else None,
        'type': _TYPES.get(kind, 'checked') if kind else None,
        'needed': action.required or None, 'does': type(action).__name__.strip('_')}
    return {name: value for name, value in told.items() if value is not None}


def _verb(place: str) -> dict[str, Any]:
    """Return the arguments of a verb of `ros2 lfm` that an entry point names."""
    module, name = place.split(':')
    inner = argparse.ArgumentParser()
    getattr(import_module(module), name)().add_arguments(inner, 'ros2 lfm')
    return describe(inner)


@contextmanager
def _ros2cli() -> Iterator[None]:
    """Stand in for ros2cli, which the ROS 2 wheels lack; a verb wants its version only."""
    if find_spec('ros2cli'):
        yield
        return
    modules = {name: ModuleType(name) for name in ('ros2cli', 'ros2cli.plugin_system')}
    vars(modules['ros2cli.plugin_system']).update(
        PLUGIN_SYSTEM_VERSION='0.1', satisfies_version=lambda *_: True)
    sys.modules.update(modules)
    try:
        yield
    finally:  # tests that need the real one must not find this
        for name in list(sys.modules):
            if name in modules or name.startswith('lfm_ros.ros2lfm'):
                del sys.modules[name]
