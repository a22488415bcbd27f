# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What commands print with --json, how they end, and what they leave in the cache."""
from __future__ import annotations

import json
import os
from pathlib import Path
import re
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from internals import from_lines
from internals import lfm
from internals import MODELS
from internals import prepared
from pins.shape import names
from pins.shape import shape

MODEL = MODELS / 'lfm2-past-conv'  # these two run on every ONNX Runtime that is supported
SEEING = MODELS / 'vision' / 'lfm2-vl-past-conv'
TOOLS = [{'name': 'go', 'description': 'Drive.', 'parameters': {
    'type': 'object', 'required': ['at'], 'properties': {'at': {'enum': [1, 2]}}}}]
_DATA = ('files',)  # keys under which the keys are data


def collect() -> dict[str, Any]:
    """Run the commands on tiny models in a folder of their own."""
    with TemporaryDirectory() as name, patch.dict(os.environ, XDG_CACHE_HOME=name):
        folder = Path(name)
        (folder / 'tools.json').write_text(json.dumps(TOOLS))
        (folder / 'image.png').write_bytes(prepared(40, 40))
        found = {'keys': {title: _keys(status, *arguments)
                          for title, status, arguments in _commands(folder)},
                 'exit status': {'bad use': lfm('nonsense')[0], 'help': lfm('--help')[0],
                                 'no such option': lfm('inspect', MODEL, '--nonsense')[0]},
                 'cache': _cache(folder / 'lfm_ros')}
    return found


def _keys(expected: int, *arguments: object) -> Any:
    status, text = lfm(*arguments, '--json')
    assert status == expected, (arguments, status, text)
    return shape(from_lines(text), _DATA)


def _commands(folder: Path) -> list[tuple[str, int, tuple[object, ...]]]:
    """Return what is run in this order: a title, the exit status, the arguments."""
    places = ('--missions-dir', folder / 'missions')
    short = ('--max-tokens', 2, '--context', 384, '--temperature', 0)
    bench = ('--contexts', '0,16', '--rounds', 1, '--prefill', 1, '--decode', 1)
    return [
        ('bench of two models', 0, ('bench', SEEING, SEEING, *bench)),
        ('inspect', 0, ('inspect', MODEL)),
        ('inspect of a model that sees', 0, ('inspect', SEEING)),
        ('an error', 2, ('inspect', folder / 'nothing')),
        ('score', 0, ('score', MODEL, '--ids', '1,2')),
        ('ask', 0, ('ask', MODEL, 'Hello.', *short, *places)),
        ('ask with choices', 0, ('ask', MODEL, 'Left?', *short, '--choice', 'a', '--choice', 'b',
                                 '--logprobs')),
        ('ask with tools', 0, ('ask', MODEL, 'Go.', *short, '--max-tokens', 60, '--tools',
                               folder / 'tools.json', '--tool-choice', 'required')),
        ('ask with an image', 0, ('ask', SEEING, 'What?', *short, '--image',
                                  folder / 'image.png')),
        ('ask without a question', 2, ('ask', MODEL, ' ', *short)),
        ('ask for longer than there is time', 1, ('ask', MODEL, 'x', '--timeout', 1e-9)),
        ('missions list', 0, ('missions', *places, 'list')),
        ('missions show', 0, ('missions', *places, 'show', 'default')),
        ('missions export', 0, ('missions', *places, 'export', 'default', folder / 'a.lfm')),
        ('missions import', 0, ('missions', *places, 'import', folder / 'a.lfm', 'b')),
        ('missions delete', 0, ('missions', *places, 'delete', 'b'))]


def _cache(folder: Path) -> dict[str, Any]:
    """Return the files in the cache of prepared graphs, and the keys of those in JSON."""
    found: dict[str, Any] = {'files': names(folder)}
    for file in sorted(folder.glob('*/*.json')):
        kinds = shape(json.loads(file.read_text()), _DATA)
        if file.name == 'abilities.json':  # by session
            kinds = {re.sub(r'\d+', '#', name): value for name, value in kinds.items()}
        found[file.name] = kinds
    return found
