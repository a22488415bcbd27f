# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Check that others cannot change the stored missions."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import logging
import os
from pathlib import Path
import stat

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

_log = logging.getLogger(__name__)


def check_permissions(folder: Path, strict: bool = False) -> None:
    """
    Warn when others may write to a folder of missions, or to something in it.

    Who can write there decides what the model believes was said.

    :param folder: may be a link; what counts is where it leads.
    :param strict: refuse it instead.
    :raises LfmError: STORAGE_FAILED, when strict.
    """
    found = next(_open_to_others(folder), '')
    if not found:
        return
    message = f'{found}: whoever can write there decides what the missions remember; ' \
        f"'chown -R {os.geteuid()} {folder}' and 'chmod -R go-w {folder}' keep others out"
    if strict:
        raise LfmError(ErrorCode.STORAGE_FAILED, f'{message}; or set missions.strict_permissions '
                       'to false')
    _log.warning(message)


def is_ours(found: os.stat_result) -> bool:
    """Return whether something belongs to this user, or to root."""
    return found.st_uid in (os.geteuid(), 0)


def _open_to_others(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the folder, with what is in it and in its folders."""
    with suppress(OSError):
        yield from _wrong_with(folder, os.stat(folder))
        for entry in os.scandir(folder):
            with suppress(OSError):
                yield from _wrong_with(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    for inner in os.scandir(entry.path):
                        yield from _wrong_with(inner.path, inner.stat(follow_symlinks=False))


def _wrong_with(path: str | Path, found: os.stat_result) -> Iterator[str]:
    if not is_ours(found):
        yield f'{path} belongs to the user {found.st_uid}'
    elif not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o022:
        yield f'others may write to {path} (mode {stat.S_IMODE(found.st_mode):04o})'
