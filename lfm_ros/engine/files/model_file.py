# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read the settings, templates and tokenizers of a model folder, whatever lies in their place."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from typing import BinaryIO

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
from lfm_ros.files import ForeignFile
from lfm_ros.files import open_file

# Bytes, several times what the files of the models in the field have. A file of brackets takes up
# to 40 times its size in memory when it is read as JSON.
MAX_SETTINGS_BYTES = 4 << 20
MAX_TEMPLATE_BYTES = 1 << 20
MAX_TOKENIZER_BYTES = 40 << 20

_POINTER = b'version https://git-lfs'


def open_regular(path: Path) -> BinaryIO:
    """
    Open a file to read it, or refuse what is none: a pipe would be waited for without end.

    :raises OSError: when it cannot be opened.
    :raises ValueError: when it is a pipe, a socket, a device or a folder.
    """
    try:
        return open(open_file(path, follow=True), 'rb')
    except ForeignFile as error:
        raise ValueError('it is not a regular file') from error


def read_bytes(path: Path, most: int) -> bytes:
    """
    Return what is in a file.

    :param most: bytes; a file may grow while it is read, and some claim to be empty.
    :raises OSError: when it cannot be read.
    :raises ValueError: when it is no regular file, or has more bytes.
    """
    with open_regular(path) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f'it has more than {most >> 20} MiB')
    return content


def read_text(path: Path, most: int) -> str:
    """
    Return the text of a file in UTF-8.

    :raises OSError: when it cannot be read.
    :raises ValueError: as :func:`read_bytes`, and when it is not UTF-8.
    """
    return read_bytes(path, most).decode('utf-8')


def read_settings(path: Path) -> dict[str, Any]:
    """
    Read a JSON object.

    :raises LfmError: MODEL_DAMAGED.
    """
    try:
        value = json.loads(read_text(path, MAX_SETTINGS_BYTES))
    except RecursionError as error:
        raise damaged(path, 'it is nested too deeply') from error
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    if not isinstance(value, dict):
        raise LfmError(ErrorCode.MODEL_DAMAGED,
                       f'{path} does not contain a JSON object: copy the model folder again')
    return value


def damaged(path: Path, reason: object) -> LfmError:
    """Return the error for a file of settings that cannot be read."""
    return LfmError(ErrorCode.MODEL_DAMAGED, f'{path} cannot be read as JSON ({quote(reason)}): '
                    'copy the model folder again')


def is_lfs_pointer(path: Path) -> bool:
    """
    Return whether Git LFS has put a pointer in place of a large file.

    :raises OSError: when it cannot be read.
    """
    try:
        with open_regular(path) as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except ValueError:
        return False
