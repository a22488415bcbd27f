# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of missions: made, checked and locked before anything in it is touched."""
from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.atomic_files import FolderLock
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.layout import LOG_FILE
from lfm_ros.storage.permissions import check_permissions


class MissionsFolder:
    """
    A folder that belongs to one process at a time.

    :param cipher: what is there must be readable with it.
    :param strict: refuse a folder that others may write to, instead of a warning.
    :param note: called with what the last process left.
    """

    def __init__(self, path: Path, cipher: StorageCipher, strict: bool,
                 note: Callable[[str], None]) -> None:
        self.path = path
        self._cipher = cipher
        self._strict = strict
        self._note = note
        self._lock: FolderLock | None = None

    def take(self) -> None:
        """
        Make the folder if need be, check it and keep others out, unless that was done.

        :raises OSError: when it cannot be made, read or locked.
        :raises LfmError: MISSIONS_LOCKED, KEY_INVALID, and STORAGE_FAILED when others may write
            there and that is forbidden.
        """
        if self._lock:
            return
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_permissions(self.path, self._strict)
        lock = FolderLock(self.path)
        try:
            if lock.was_left:
                self._note(f'the process {lock.was_left} that used {self.path} was killed')
            self._cipher.check(os.listdir(self.path), LOG_FILE, self.path)
        except BaseException:
            lock.release()
            raise
        self._lock = lock

    @property
    def taken(self) -> bool:
        """Whether it is ours."""
        return self._lock is not None

    def release(self) -> None:
        """Let others in."""
        lock, self._lock = self._lock, None
        if lock:
            lock.release()


def cannot_use(folder: Path, error: OSError) -> LfmError:
    """Return the error of a folder for missions that cannot be used."""
    return LfmError(ErrorCode.STORAGE_FAILED, f'missions cannot be kept in {folder} '
                    f'({error.strerror}): set missions.dir to a folder that can be written')
