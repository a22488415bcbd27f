# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A list of the files of a folder, to check that they are those that were written."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lfm_ros.engine.files.folder import add_content
from lfm_ros.files import check_regular
from lfm_ros.files import read_file
from lfm_ros.files import replace_file

MANIFEST = 'manifest.json'
_MAX_FILE_BYTES = 1 << 20  # bytes


def digest(path: Path) -> str:
    """Return the SHA-256 in hex of a file, of samples of it where it is large."""
    found = hashlib.sha256(str(path.stat().st_size).encode())
    add_content(found, path)
    return found.hexdigest()


def write_manifest(folder: Path, what: dict[str, Any]) -> None:
    """
    Describe a folder in a file.

    :param what: other facts to note, by name.
    """
    files = {p.name: {'size': p.stat().st_size, 'sha256': digest(p)}
             for p in sorted(folder.iterdir()) if p.is_file() and p.name != MANIFEST}
    replace_file(folder / MANIFEST, json.dumps({**what, 'files': files}, indent=1).encode())


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what is known of a folder; empty when its manifest is missing or damaged."""
    try:
        found = json.loads(read_file(folder / MANIFEST, _MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get('files'), dict) else {}


def damage(folder: Path) -> str:
    """Return the first thing that is wrong with a folder, empty when all is as it was written."""
    manifest = read_manifest(folder)
    if not manifest:
        return f'{MANIFEST} is missing or damaged'
    for name, known in manifest['files'].items():
        path = folder / str(name)
        try:
            check_regular(path)
            if path.stat().st_size != known['size'] or digest(path) != known['sha256']:
                return f'{name} has changed'
        except (OSError, KeyError, TypeError):
            return f'{name} is missing'
    return ''
