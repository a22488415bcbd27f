# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What stays of data when the values are taken out of it."""
from __future__ import annotations

from collections.abc import Collection
import json
from pathlib import Path
import re
from typing import Any

_NAMES = {bool: 'flag', int: 'number', float: 'number', str: 'text', type(None): 'nothing'}


def shape(value: Any, data: Collection[str] = (), name: str = '') -> Any:
    """
    Return the keys of JSON data with the kinds of their values.

    :param data: keys under which the keys are data, as names of files are.
    :returns: of a list that is no longer than one, whatever it held.
    """
    if isinstance(value, dict):
        if name in data:
            return {'*': shape(list(value.values()), data)}
        return {key: shape(part, data, key) for key, part in value.items()}
    if isinstance(value, list):
        kinds = {json.dumps(kind): kind for kind in (shape(part, data) for part in value)}
        return [kinds[text] for text in sorted(kinds)]
    return _NAMES[type(value)]


def pattern(name: str) -> str:
    """Return the name of a file with digests, keys and numbers taken out of it."""
    name = re.sub(r'\b[0-9a-f]{16,64}\b', lambda match: f'<{len(match[0])} hex>', name)
    return re.sub(r'(?<![\w<])\d+(?![\w ])', '#', name)


def names(folder: Path) -> list[str]:
    """Return the files in a folder, as patterns."""
    return sorted({pattern(str(path.relative_to(folder))) for path in folder.rglob('*')})


def modes(folder: Path) -> dict[str, str]:
    """Return the files in a folder, as patterns, with who may read them."""
    return dict(sorted((pattern(str(path.relative_to(folder))),
                        f'{path.stat().st_mode & 0o777:o}') for path in folder.rglob('*')))
