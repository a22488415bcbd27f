# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write files that are whole or not there, and lock a folder."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import errno
import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

PRIVATE = 0o600  # what is said to a robot is nobody else's business


def write_whole(path: Path, data: bytes) -> None:
    """
    Write a file so that after a crash at any instant it is whole or not there.

    It is read back before it gets its name: a medium that loses what it took is found now.

    :raises OSError: when it could not be written; then there is nothing left of it.
    """
    part = path.with_name(path.name + '.part')
    try:
        handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, PRIVATE)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view):]
            put_on_disk(handle)
            os.lseek(handle, 0, os.SEEK_SET)
            view = memoryview(data)
            while view:
                block = os.read(handle, min(len(view), 1 << 20))
                if not block or block != view[:len(block)]:
                    raise OSError(errno.EIO, f'{path} was not kept as it was written')
                view = view[len(block):]
        finally:
            os.close(handle)
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError:
        for name in (part, path):
            with suppress(OSError):
                name.unlink()
        raise


@contextmanager
def growing_file(path: Path) -> Iterator[BinaryIO]:
    """
    Give an empty file beside a path, which gets that name when the block ends well.

    Whoever else writes to the same path meanwhile, in this process or another, waits.

    :raises OSError: when it could not be written; then there is nothing left of it.
    """
    part = path.with_name(path.name + '.part')
    while True:
        handle = os.open(part, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(part)):
                    break  # else another writer has just given it its name, or unlinked it
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    with open(handle, 'w+b') as file:
        try:
            file.truncate()
            yield file
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    sync_folder(path.parent)


def put_on_disk(handle: int) -> None:
    """Make what was written last, and be read back from the medium."""
    os.fsync(handle)
    # Without this the pages just written would be compared with themselves.
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FolderLock:
    """
    Keeps other processes out of a folder.

    The lock is the kernel's, on the folder itself: it ends with the process that holds it,
    however it ends, and a read-only disk can have one. The file `lock` only tells people who
    has it; one that was left behind locks nothing.

    :ivar was_left: the process that held it before and did not end properly, if any.
    :raises LfmError: MISSIONS_LOCKED, with the process that holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._name = folder / 'lock'
        try:
            self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise cannot_use(folder, error) from error
        self.was_left = ''
        with suppress(OSError):
            self.was_left = self._name.read_text(errors='replace')[:20].strip()
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            if error.errno != errno.EWOULDBLOCK:
                raise cannot_use(folder, error) from error
            raise LfmError(ErrorCode.MISSIONS_LOCKED, f'{folder} is used by process '
                           f'{self.was_left or "unknown"}: stop it, or choose another folder '
                           'with missions.dir') from error
        with suppress(OSError), open(os.open(
                self._name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, PRIVATE),
                'w') as file:
            file.write(f'{os.getpid()}\n')

    def release(self) -> None:
        """Let others in."""
        with suppress(OSError):
            self._name.unlink()
        os.close(self._handle)


def cannot_use(folder: Path, error: OSError) -> LfmError:
    """Return the error of a folder for missions that cannot be used."""
    return LfmError(ErrorCode.STORAGE_FAILED, f'missions cannot be kept in {folder} '
                    f'({error.strerror}): set missions.dir to a folder that can be written')
