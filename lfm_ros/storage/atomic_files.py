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
from lfm_ros.files import check_folder
from lfm_ros.files import new_file
from lfm_ros.files import read_file

_MAX_NUMBER_LENGTH = 20  # digits of a process


def write_whole(path: Path, data: bytes) -> None:
    """
    Write a file so that after a crash at any instant it is whole or not there.

    It is read back before it gets its name: a medium that loses what it took is found now.

    :raises OSError: when it could not be written; then there is nothing left of it.
    """
    try:
        with new_file(path, tidy=False) as file:
            handle = file.fileno()
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view):]
            put_on_disk(handle)
            os.lseek(handle, 0, os.SEEK_SET)
            view = memoryview(data)
            while view:
                block = os.read(handle, min(len(view), 1 << 20))
                if not block or block != view[:len(block)]:
                    raise OSError(errno.EIO, f'{path} does not contain what was written')
                view = view[len(block):]
        sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


@contextmanager
def growing_file(path: Path) -> Iterator[BinaryIO]:
    """
    Give an empty file beside a path, which gets that name when the block ends well.

    Of several that are written to the same path at once, the last one stays, whole.

    :raises OSError: when it could not be written; then there is nothing left of it.
    """
    with new_file(path) as file:
        yield file
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """
    Make a folder in that of the missions, unless it is there.

    That folder may be a link, if who starts the node wants that. In it links are none of ours:
    following one would write, and delete, where whoever has made it chose.

    :raises OSError: when it cannot be made, or something else has its name.
    """
    if not check_folder(path):
        path.mkdir(mode=0o700)


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
    :raises OSError: when the folder cannot be locked.
    """

    def __init__(self, folder: Path) -> None:
        self._name = folder / 'lock'
        self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.was_left = _process_in(self._name)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise LfmError(ErrorCode.MISSIONS_LOCKED, f'{folder} is used by process '
                           f'{self.was_left or "unknown"}: stop it, or choose another folder '
                           'with missions.dir') from error
        with suppress(OSError), new_file(self._name) as file:
            file.write(f'{os.getpid()}\n'.encode())

    def release(self) -> None:
        """Let others in."""
        with suppress(OSError):
            self._name.unlink()
        os.close(self._handle)


def _process_in(file: Path) -> str:
    """Return the process that a lock file names; empty: none."""
    with suppress(OSError):
        text = read_file(file, _MAX_NUMBER_LENGTH).decode(errors='replace').strip()
        return text if text.isascii() and text.isdigit() else ''
    return ''
