# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Open and create files safely where others may have put something in their place.

A name may have become a link to another file, a pipe that never answers, or a second name of a
file that must not change. All that is written or read again in a folder of ours is opened here.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import errno
import fcntl
import os
from pathlib import Path
import re
import secrets
import stat
from typing import BinaryIO

PRIVATE = 0o600  # what is said to a robot is for its owner only

_PART = re.compile(r'\.lfm-[0-9a-f]{16}\.part')
_KINDS = {stat.S_IFLNK: 'a symbolic link', stat.S_IFIFO: 'a pipe', stat.S_IFDIR: 'a folder',
          stat.S_IFSOCK: 'a socket', stat.S_IFBLK: 'a device', stat.S_IFCHR: 'a device'}


class ForeignFile(OSError):
    """There is something under a name that this package did not make; it is left alone."""

    def __init__(self, path: str | Path, what: str) -> None:
        super().__init__(errno.EPERM, f'{os.path.basename(path)} is {what}: remove it')


def open_file(path: str | Path, flags: int = os.O_RDONLY, mode: int = PRIVATE,
              follow: bool = False) -> int:
    """
    Open a regular file and nothing else, without waiting for anybody.

    :param flags: what may write also refuses a file with a second name. O_TRUNC is not among
        them: truncate what was opened.
    :param follow: whether the name may be a link, as one that a user gives.
    :returns: a file descriptor.
    :raises ForeignFile: when it is something else.
    :raises OSError: when it cannot be opened.
    """
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # a link, a pipe, a socket
            with suppress(FileNotFoundError):
                check_regular(path)
        raise
    try:
        _check(path, os.fstat(handle), flags & (os.O_WRONLY | os.O_RDWR) != 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def read_file(path: str | Path, most: int, follow: bool = False) -> bytes:
    """
    Return the content of a regular file.

    :param most: bytes.
    :raises ForeignFile: when it is something else, or larger.
    :raises OSError: when it cannot be read.
    """
    with open(open_file(path, follow=follow), 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ForeignFile(path, f'a file of {size:,} bytes, which may have {most:,}')
        return file.read(most)


def check_regular(path: str | Path, writes: bool = False) -> bool:
    """
    See that a name is free, or that of a regular file; for files that another library opens.

    :param writes: whether it is written in place: it may then have no second name.
    :returns: whether there is a file.
    :raises ForeignFile: when there is something else.
    """
    try:
        _check(path, os.lstat(path), writes)
    except FileNotFoundError:
        return False
    return True


def check_folder(path: Path) -> bool:
    """
    See that a name is free, or that of a folder and not of a link to one.

    :returns: whether there is a folder.
    :raises ForeignFile: when there is something else.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(mode):
        raise ForeignFile(path, _KINDS.get(stat.S_IFMT(mode), 'a file'))
    return True


@contextmanager
def new_file(path: Path, tidy: bool = True) -> Iterator[BinaryIO]:
    """
    Give an empty file beside a path, which gets that name when the block ends well.

    Its own name cannot be known before, so nothing can have been put there.

    :param tidy: also remove what killed processes have left in the same folder.
    :raises OSError: when it could not be written; then there is nothing left of it.
    """
    if tidy:
        _remove_parts(path)
    part, handle = _make_part(path.parent)
    try:
        with open(handle, 'w+b') as file:
            yield file
            file.flush()
            os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def replace_file(path: Path, data: bytes) -> None:
    """
    Write a file that whoever reads finds as it was or whole, as long as there is no power cut.

    :raises OSError: when it could not be written; then it is as it was.
    """
    with new_file(path) as file:
        file.write(data)


def _make_part(folder: Path) -> tuple[Path, int]:
    """Make a temporary file and lock it, so that it is not cleaned up as a stale one."""
    while True:
        part = folder / f'.lfm-{secrets.token_hex(8)}.part'
        handle = open_file(part, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return part, handle
        except BlockingIOError:  # another process is about to remove it
            pass
        except OSError:  # a file system without locks
            return part, handle
        os.close(handle)  # another process was tidying up in between


def _remove_parts(path: Path) -> None:
    """Remove what a killed process left beside a path; what is written now is locked."""
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if _PART.fullmatch(entry.name) or entry.name == f'{path.name}.part':  # up to 0.1
                with suppress(OSError):
                    _remove_part(entry.path)


def _remove_part(path: str) -> None:
    with open(open_file(path), 'rb') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _check(path: str | Path, found: os.stat_result, writes: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ForeignFile(path, _KINDS.get(stat.S_IFMT(found.st_mode), 'no file'))
    if writes and found.st_nlink > 1:
        raise ForeignFile(path, f'a file with {found.st_nlink} names (hard links)')
