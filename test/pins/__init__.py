# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
What others hold on to by name, written down: each `NAME.json` here is made by the section NAME.

A section is a function without arguments that returns plain data. It looks from outside: at the
files of the interfaces, at a node, at what the commands take and print, at what is on the disk.
What it cannot see from there it gets from `internals.py`.
"""
from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import lfm_ros  # noqa: F401  (switches telemetry off)
import onnxruntime
from pins import commands
from pins import graphs
from pins import messages
from pins import node
from pins import output
from pins import package
from pins import storage

NEW, GONE = 'new', 'gone'
FOLDER = Path(__file__).resolve().parent
SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    'messages': messages.collect, 'node': node.collect, 'commands': commands.collect,
    'output': output.collect, 'storage': storage.collect, 'graphs': graphs.collect,
    'package': package.collect}
ADVICE = """
Others hold on to these names: programs, parameter files, missions on the disk of a robot.
What is gone or has changed breaks them: take that back. When something was added on purpose, pin
it with 'python test/make_pins.py' and commit what that writes."""


def missing(section: str) -> str:
    """Return what a section needs that is not here; empty: nothing."""
    found = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
    if section == 'graphs' and found < graphs.NEEDS:
        return f'{section} needs ONNX Runtime {graphs.NEEDS[0]}.{graphs.NEEDS[1]}'
    return ''


def pinned(section: str) -> dict[str, Any]:
    """Return what is written down of a section; nothing when it is not yet."""
    file = FOLDER / f'{section}.json'
    return json.loads(file.read_text(encoding='utf-8')) if file.is_file() else {}


def pin(section: str, found: dict[str, Any]) -> None:
    """Write a section down."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (FOLDER / f'{section}.json').write_text(text + '\n', encoding='utf-8')


def differences(pinned: Any, found: Any, path: str = '') -> dict[str, str]:
    """
    Return what became of each name that is not as it was pinned.

    :param found: plain data; of a list the order counts.
    :returns: 'gone', 'new', or what it was and is, by the way to it.
    """
    if isinstance(pinned, dict) and isinstance(found, dict):
        changes: dict[str, str] = {}
        for name in (*pinned, *(name for name in found if name not in pinned)):
            way = f'{path}/{name}' if path else str(name)
            if name in pinned and name in found:
                changes.update(differences(pinned[name], found[name], way))
            else:
                changes[way] = GONE if name in pinned else NEW
        return changes
    if isinstance(pinned, list) and isinstance(found, list) and \
            all(isinstance(part, str) for part in (*pinned, *found)):
        kept, again = ([part for part in some if part in other]
                       for some, other in ((pinned, found), (found, pinned)))
        return {**{f'{path}: {part}': GONE for part in pinned if part not in found},
                **{f'{path}: {part}': NEW for part in found if part not in pinned},
                **({path: 'has another order'} if kept != again else {})}
    return {} if pinned == found else {
        path: f'was {json.dumps(pinned, ensure_ascii=False)}, is '
              f'{json.dumps(found, ensure_ascii=False)}'}


def report(section: str, changes: dict[str, str]) -> str:
    """Return what a person is told of changes."""
    return '\n'.join([f'pins/{section}.json is not what the code says:',
                      *(f'  {way}: {what}' for way, what in changes.items())])
