# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recording of rosbag2: one file, or a folder with its parts."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
import re
import shutil
import tempfile

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.replay.damage import Damaged
from lfm_ros.replay.decoder import RawMessage
from lfm_ros.replay.mcap_file import read_mcap
from lfm_ros.replay.sqlite_file import read_sqlite
from zstandard import ZstdDecompressor
from zstandard import ZstdError

_MCAP, _SQLITE, _ZSTD = '.mcap', '.db3', '.zstd'
_READERS = {_MCAP: read_mcap, _SQLITE: read_sqlite}
_PACKED = b'\x28\xb5\x2f\xfd'  # of zstd; a message in CDR never begins with it
_METADATA = 'metadata.yaml'


class Bag:
    """
    A recording.

    :param path: a file (.mcap or .db3, also with .zstd behind it), or the folder that
        ``ros2 bag record`` makes.
    :ivar damage: of each file, or of the folder, a sentence on what is wrong with it.
    :raises LfmError: INVALID_VALUE, when there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: dict[Path, str] = {}
        if not path.exists():
            raise _refusal(f'there is no bag {path}: check its name')
        self._files = [path]
        if path.is_dir():
            self._files = sorted((f for f in path.iterdir() if _kind(f)), key=_number)
            if not self._files:
                raise _refusal(f'the folder {path} is no bag, it has neither .mcap nor .db3 '
                               f"files: give one that 'ros2 bag record' made")
            if len({_kind(file) for file in self._files}) > 1:
                raise _refusal(f'the folder {path} has .mcap and .db3 files: give one of them')
            if not (path / _METADATA).exists():
                self.damage[path] = f'{path} has no {_METADATA}, so its recorder did not end ' \
                    f'as it should: {few(f.name for f in self._files)} is read as far as it goes'
        elif not _kind(path):
            raise _refusal(f'{path} is no bag: give a file that ends in .mcap or .db3, or the '
                           "folder that 'ros2 bag record' made")

    def messages(self, wanted: Callable[[str, str], bool]) -> Iterator[RawMessage]:
        """
        Yield what was recorded, in that order, as far as it can be read.

        :param wanted: asked for every topic that it meets, with its type.
        """
        for file in self._files:
            count = last = 0
            try:
                with _unpacked(file) as path:
                    for message in _READERS[_kind(file)](path, wanted):
                        count, last = count + 1, message.time
                        yield _unpacked_message(message)
            except Damaged as error:
                self.damage[file] = _told(file, count, last, str(error))


def _told(file: Path, count: int, last: int, reason: str) -> str:
    """Return how far a file could be read."""
    end = f', to the time {last / 1e9:.3f}' if count else ''
    return f'{file} is damaged ({reason}): it was read as far as it goes, {count} ' \
        f'message{"s" * (count != 1)} of the wanted topics{end}'


def _kind(file: Path) -> str:
    """Return which format a file has by its name; empty: none."""
    name = file.name.removesuffix(_ZSTD)
    return next((kind for kind in (_MCAP, _SQLITE) if name.endswith(kind)), '')


def _number(file: Path) -> list[tuple[int, str]]:
    """Return what sorts parts of a bag, of which the tenth comes behind the ninth."""
    return [(int(part), '') if part.isdigit() else (-1, part)
            for part in re.split(r'(\d+)', file.name)]


def _unpacked_message(message: RawMessage) -> RawMessage:
    """Return a message as it was before its recorder compressed it alone."""
    if not message.data.startswith(_PACKED):
        return message
    try:
        return replace(message, data=ZstdDecompressor().decompressobj().decompress(message.data))
    except ZstdError:
        return message  # which nobody can decode


@contextmanager
def _unpacked(file: Path) -> Iterator[Path]:
    """Give a file that is not compressed as a whole."""
    if file.suffix != _ZSTD:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file.stem
        damage = ''
        with file.open('rb') as packed, path.open('wb') as unpacked:
            try:
                with ZstdDecompressor().stream_reader(packed) as reader:
                    shutil.copyfileobj(reader, unpacked)
            except ZstdError as error:
                damage = str(error)
        yield path
        if damage:
            raise Damaged(damage)


def _refusal(sentence: str) -> LfmError:
    return LfmError(ErrorCode.INVALID_VALUE, sentence)
