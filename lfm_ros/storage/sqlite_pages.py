# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read the pages of a SQLite file without SQLite, which refuses a file that is damaged."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
import os
from pathlib import Path
import sqlite3
import struct
from typing import Any

from lfm_ros.files import ForeignFile
from lfm_ros.files import open_file
from lfm_ros.files import read_file
import numpy as np

PAGE = 1024  # bytes; of every file that the log makes
MAX_FILE_BYTES = 8 << 30   # bytes; holes in it cost nothing
MAX_ROW_BYTES = 64 << 20   # bytes; an image may have 16 MB
MAX_WAL_BYTES = 256 << 20  # bytes; log.maintain() keeps it at a few megabytes

_MAGIC = b'SQLite format 3\0' + struct.pack('>HBBBBBB', PAGE, 2, 2, 0, 64, 32, 32)
_WAL_HEADER = struct.Struct('>8I')    # magic, version, page size, number, salts, checksums
_FRAME_HEADER = struct.Struct('>6I')  # page, pages after a commit, salts, checksums
_FRAME = _FRAME_HEADER.size + PAGE
_WAL_MAGIC = 0x377f0682
_TABLE_LEAF = 13
_MAX_CELLS = PAGE // 6  # on one page: a place of two bytes and a row of four
_DETOURS = 16  # how many times each page may be read as the rest of a row; links may be forged


def check_file(file: Path) -> None:
    """
    Check what SQLite would take for another kind of file, an empty one, or the end of a WAL.

    SQLite drops silently what is in a WAL behind a damaged frame, and a whole WAL when its header
    is damaged or the file itself is empty.

    :raises sqlite3.DatabaseError: when it is damaged.
    """
    with suppress(OSError):
        wal = _Wal(Path(f'{file}-wal'))
        with open(open_file(file), 'rb') as opened:
            header = opened.read(100)
        if not header and not wal.last:
            return  # it was about to be made
        sane = len(header) == 100 and header.startswith(_MAGIC)
        # Format, size of the cache, automatic vacuum and encoding; 0 until the first table is on
        # its way here.
        if not sane or header[44:48] not in (b'\0\0\0\0', b'\0\0\0\4') or any(header[48:56]) or \
                header[56:60] not in (b'\0\0\0\0', b'\0\0\0\1') or any(header[64:68]):
            raise sqlite3.DatabaseError('its header is not that of a log')
        if wal.last > wal.good:
            raise sqlite3.DatabaseError(f'frame {wal.good + 1} of its WAL is damaged')


def rows_of(file: Path) -> Iterator[tuple[int, list[Any]]]:
    """
    Return the rows of all tables that are still there, with their numbers, as far as one can tell.

    They may be damaged. What was deleted is not among them: it is overwritten when it is deleted.
    Last come those behind a damaged place in the WAL: what is there may be older than it seems.
    """
    with suppress(OSError), open(open_file(file), 'rb', buffering=0) as data:
        wal = _Wal(Path(f'{file}-wal'))
        for pages in (_Pages(data.fileno(), wal, 0, wal.good),
                      _Pages(data.fileno(), wal, wal.good, wal.last)):
            for number in pages.numbers:
                with suppress(IndexError, ValueError):
                    yield from pages.rows(number)


class _Wal:
    """
    The frames of a WAL.

    :ivar last: the last frame that ends a commit, counted from 1, as headers of frames have it;
        ``good``: likewise, but only while checksums are right.
    """

    def __init__(self, file: Path) -> None:
        self.data = b''
        self.last = self.good = 0
        with suppress(FileNotFoundError, ForeignFile):
            self.data = read_file(file, MAX_WAL_BYTES)
        count = max(0, len(self.data) - _WAL_HEADER.size) // _FRAME
        self._headers = [_FRAME_HEADER.unpack_from(self.data, self._place(number))
                         for number in range(1, count + 1)]
        if not count:
            return
        magic, _, size, _, *salts, one, two = _WAL_HEADER.unpack_from(self.data)
        words = np.frombuffer(self.data, '>u4' if magic & 1 else '<u4', 6)
        if magic | 1 == _WAL_MAGIC | 1 and size == PAGE and \
                _checksums(words[None], [(0, 0)]) == [(one, two)]:
            frames = np.frombuffer(self.data, np.uint8, count * _FRAME, _WAL_HEADER.size)
            summed = np.delete(frames.reshape(count, _FRAME), slice(8, 24), axis=1)
            known = [(one, two), *(header[4:] for header in self._headers)]
            sums = _checksums(summed.view(words.dtype), known)
            for number, (header, found) in enumerate(zip(self._headers, sums), 1):
                if list(header[2:4]) != salts or header[4:] != found:
                    break
                self.good = number if header[1] else self.good
        else:
            salts = list(Counter(header[2:4] for header in self._headers).most_common(1)[0][0])
        self._salts = salts
        self.last = max((number for number, header in enumerate(self._headers, 1)
                         if list(header[2:4]) == salts and header[1]), default=0)

    def pages(self, last: int) -> dict[int, tuple[int, int]]:
        """Return for each page in the first frames the last one with it, and where it begins."""
        return {header[0]: (number, self._place(number) + _FRAME_HEADER.size)
                for number, header in enumerate(self._headers[:last], 1)
                if list(header[2:4]) == self._salts}

    @staticmethod
    def _place(number: int) -> int:
        return _WAL_HEADER.size + (number - 1) * _FRAME


def _checksums(rows: np.ndarray, known: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """
    Return the checksums of SQLite of rows of 32-bit numbers.

    :param known: what each of them goes on from.
    """
    count = rows.shape[1] // 2
    # After n pairs it is a sum of all numbers with Fibonacci numbers as weights.
    fibonacci = [0, 1]
    while len(fibonacci) < 2 * count + 2:
        fibonacci.append((fibonacci[-1] + fibonacci[-2]) & 0xffffffff)
    f, rest = np.array(fibonacci, np.uint32), 2 * np.arange(count - 1, -1, -1)
    x, y = rows[:, ::2].astype(np.uint32), rows[:, 1::2].astype(np.uint32)
    first = (x * f[rest + 1] + y * f[rest]).sum(1, dtype=np.uint32)
    second = (x * f[rest + 2] + y * f[rest + 1]).sum(1, dtype=np.uint32)
    a, b, c = fibonacci[2 * count - 1:2 * count + 2]
    return [((a * one + b * two + int(u)) & 0xffffffff, (b * one + c * two + int(v)) & 0xffffffff)
            for (one, two), u, v in zip(known, first, second)]


class _Pages:
    """
    The pages of a file with what its WAL has of them up to a frame.

    :param data: a file descriptor.
    :ivar numbers: of all pages, or of those that come after another frame.
    """

    def __init__(self, data: int, wal: _Wal, first: int, last: int) -> None:
        self._data, self._wal = data, wal.data
        self.numbers: Iterable[int]
        found = wal.pages(last)
        self._places = {number: place for number, (_, place) in found.items()}
        later = sorted(number for number, (frame, _) in found.items() if frame > first)
        if not first:
            count = -(-min(os.fstat(data).st_size, MAX_FILE_BYTES) // PAGE)
            self.numbers = chain(_written(data, count), (n for n in later if n > count))
        else:
            count, self.numbers = 0, later
        self._left = _DETOURS * (count + len(found) + PAGE)

    def rows(self, number: int) -> Iterator[tuple[int, list[Any]]]:
        """Return the rows of a page, if it is one of a table."""
        page = self._page(number)
        start = 100 if number == 1 else 0
        if page[start] != _TABLE_LEAF:
            return
        count = int.from_bytes(page[start + 3:start + 5], 'big')
        for place in range(min(count, _MAX_CELLS)):
            at = start + 8 + 2 * place
            with suppress(IndexError, ValueError):
                yield self._row(page, int.from_bytes(page[at:at + 2], 'big'))

    def _page(self, number: int) -> bytes:
        if number in self._places:
            start = self._places[number]
            return self._wal[start:start + PAGE]
        return os.pread(self._data, PAGE, (number - 1) * PAGE)

    def _row(self, page: bytes, at: int) -> tuple[int, list[Any]]:
        size, at = _varint(page, at)
        row, at = _varint(page, at)
        if size > MAX_ROW_BYTES:
            raise ValueError('a row is larger than any of a log')
        here, least = size, (PAGE - 12) * 32 // 255 - 23
        if size > PAGE - 35:
            here = least + (size - least) % (PAGE - 4)
            here = here if here <= PAGE - 35 else least
        data = bytearray(page[at:at + here])
        following = int.from_bytes(page[at + here:at + here + 4], 'big')
        while len(data) < size:
            page = self._page(following)
            self._left -= 1
            if len(page) < PAGE or not following or self._left < 0:
                raise ValueError('the rest of a row is not there')
            following = int.from_bytes(page[:4], 'big')
            data += page[4:4 + size - len(data)]
        return row, _values(bytes(data))


def _written(data: int, count: int) -> Iterator[int]:
    """Return the numbers of the pages of a file that are no holes in it."""
    number = 0
    with suppress(OSError):  # there is nothing but a hole up to the end
        while number < count:
            start = os.lseek(data, number * PAGE, os.SEEK_DATA)
            end = os.lseek(data, start, os.SEEK_HOLE)
            first, number = start // PAGE + 1, -(-end // PAGE)
            yield from range(first, min(number, count) + 1)


def _values(data: bytes) -> list[Any]:
    """Return the columns of a row."""
    at, place = _varint(data, 0)
    end, values = at, []
    while place < end:
        kind, place = _varint(data, place)
        value: Any = None
        size = (kind - 12) // 2 if kind >= 12 else (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]
        part = data[at:at + size]
        if len(part) < size:
            raise ValueError('a row is cut')
        if kind in (8, 9):
            value = kind - 8
        elif kind == 7:
            value, = struct.unpack('>d', part)
        elif 1 <= kind <= 6:
            value = int.from_bytes(part, 'big', signed=True)
        elif kind >= 12:
            value = part.decode(errors='replace') if kind % 2 else part
        values.append(value)
        at += size
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = data[at + count]
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at + count + 1
    raise AssertionError
