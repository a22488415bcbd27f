# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Checkpoints: states on disk, in segments that only grow.

A checkpoint is named by the digest of the transcript that it is the state of. It holds the keys
and values that came since an earlier one, its parent, and the convolution windows; so a turn
costs its own rows, and missions with the same beginning share what is stored of it. Keys and
values are cut into segments of a few megabytes: memory stays flat while they are written and read.
With a key each segment is sealed under its own name, which is no digest of what was said then.
"""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import re
import threading

from lfm_ros.files import check_folder
from lfm_ros.files import read_file
from lfm_ros.storage.atomic_files import make_folder
from lfm_ros.storage.atomic_files import write_whole
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
import numpy as np
from safetensors.numpy import load
from safetensors.numpy import save

SEGMENT = 256  # tokens
MAX_SEGMENT_BYTES = 256 << 20  # bytes; 75 MB is the largest of a known model

_FORMAT = 'lfm_ros state 1'
_NAME = re.compile(r'([0-9a-f]{32})\.([0-9a-f]{32}|0)\.([0-9]{1,9})-([0-9]{1,9})(\.end)?'
                   r'\.safetensors')


@dataclass(frozen=True)
class Snapshot:
    """
    What is to be stored of a state.

    :param digest: of the transcript; ``parent`` of the checkpoint that holds what comes before
        ``start``, empty: there is none.
    :param rows: keys and values ``[1, heads, end - start, head_dim]`` by name; views of live
        buffers, which must not change before the snapshot is written.
    :param windows: of the convolutions, by name; copies.
    """

    digest: str
    parent: str
    start: int
    end: int
    rows: dict[str, np.ndarray]
    windows: dict[str, np.ndarray]


@dataclass(frozen=True)
class CheckpointSegment:
    """One file: rows ``start`` to ``end``; the last one of a checkpoint has the windows, too."""

    path: Path
    parent: str
    start: int
    end: int
    last: bool
    size: int


class Checkpoints:
    """
    The checkpoints in a folder; may be used from two threads.

    :param fingerprint: of the model.
    :param read_only: another process may be writing: change nothing.
    :param cipher: seals what is written.
    :ivar bytes_written: since it was opened.
    :raises OSError: when the folder cannot be used.
    """

    def __init__(self, folder: Path, fingerprint: str, read_only: bool = False,
                 cipher: StorageCipher = StorageCipher()) -> None:
        self.folder = folder
        self.bytes_written = 0
        self._fingerprint = fingerprint
        self._cipher = cipher
        self._segments: dict[str, list[CheckpointSegment]] = {}
        self._lock = threading.Lock()
        if not read_only:
            make_folder(folder)
        check_folder(folder)
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                if match := _match(entry.name):  # reading it finds what is no file
                    size = entry.stat(follow_symlinks=False).st_size
                    self._note(match[1], _segment(Path(entry.path), match, size))
                elif entry.name.endswith('.part') and not read_only:
                    with suppress(OSError):
                        os.unlink(entry.path)

    @property
    def nbytes(self) -> int:
        """Return what all checkpoints take on disk."""
        with self._lock:
            return sum(p.size for segments in self._segments.values() for p in segments)

    @property
    def encrypted(self) -> bool:
        """Return whether what is written is sealed with a key."""
        return bool(self._cipher.key_id)

    def chain(self, digest: str) -> list[list[CheckpointSegment]]:
        """Return the segments of a checkpoint and of those it stands on, root first; or none."""
        links: list[list[CheckpointSegment]] = []
        name, end = self._name(digest), None
        with self._lock:
            while name != '0':
                segments = sorted(self._segments.get(name, ()), key=lambda p: p.start)
                tiled = all(a.end == b.start for a, b in zip(segments, segments[1:]))
                if not segments or not tiled or not segments[-1].last or \
                        end not in (None, segments[-1].end):
                    return []
                links.append(segments)
                name, end = segments[0].parent, segments[0].start
        return links[::-1] if end == 0 else []

    def newest(self, digests: Sequence[str]) -> str:
        """Return the last of these digests that a complete checkpoint has; or nothing."""
        return next(filter(self.chain, reversed(digests)), '')

    def size_of(self, digest: str) -> int:
        """Return what a checkpoint takes on disk with all that it stands on."""
        return sum(segment.size for link in self.chain(digest) for segment in link)

    def write(self, snapshot: Snapshot) -> None:
        """
        Store a snapshot; the last file makes it complete.

        :raises OSError: when it could not be written.
        """
        name = self._name(snapshot.digest)
        if self.chain(snapshot.digest):
            return  # by a fork, say; another checkpoint may stand on it already
        parent = self._name(snapshot.parent) if snapshot.parent else '0'
        self._discard([name])  # what an earlier attempt left
        try:
            self._write(snapshot, name, parent)
        except BaseException:
            self._discard([name])  # the disk may be full because of it
            raise

    def _write(self, snapshot: Snapshot, name: str, parent: str) -> None:
        cuts = [*range(snapshot.start, snapshot.end, SEGMENT), snapshot.end]
        for start, end in zip(cuts, cuts[1:]):
            last = end == snapshot.end
            part = slice(start - snapshot.start, end - snapshot.start)
            arrays = {n: np.ascontiguousarray(a[:, :, part]) for n, a in snapshot.rows.items()}
            if last:
                arrays.update(snapshot.windows)
            ending = '.end' if last else ''
            path = self.folder / f'{name}.{parent}.{start}-{end}{ending}.safetensors'
            data = self._cipher.seal(
                save(arrays, self._metadata(name, parent, start, end, arrays)), path.name)
            write_whole(path, data)
            self.bytes_written += len(data)
            self._note(name, CheckpointSegment(path, parent, start, end, last, len(data)))

    def read(self, segment: CheckpointSegment) -> dict[str, np.ndarray]:
        """
        Return the arrays of a segment.

        :raises Damaged: when it is not what was written for this model.
        """
        try:
            data = read_file(segment.path, MAX_SEGMENT_BYTES)
        except OSError as error:
            raise Damaged(f'{segment.path.name} cannot be read ({error})') from error
        return self._arrays(segment, data)

    def _arrays(self, segment: CheckpointSegment, data: bytes) -> dict[str, np.ndarray]:
        """Return the arrays in the content of a segment."""
        name = segment.path.name.partition('.')[0]
        try:
            data = self._cipher.open(data, segment.path.name, bytes)
            arrays = load(data)
            header = 8 + int.from_bytes(data[:8], 'little')
            metadata = json.loads(data[8:header])['__metadata__']
        except Exception as error:  # safetensors raises its own class, the system's or NumPy's
            raise Damaged(f'{segment.path.name} cannot be read ({error})') from error
        if metadata != self._metadata(name, segment.parent, segment.start, segment.end, arrays):
            raise Damaged(f'{segment.path.name} is not what was written for this model')
        # Who can write here can make the checksum, too. Such a state would spoil every answer.
        if not all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == 'f'):
            raise Damaged(f'{segment.path.name} contains NaN or infinite numbers')
        return arrays

    def import_segments(self, files: Sequence[str], read: Callable[[str], bytes]) -> None:
        """
        Take over checkpoints that are not there yet from another place.

        :param files: names of their segments there, in the order in which they were written;
            ``read`` returns the content of one.
        :raises Damaged: at the first one that is not what was written for this model.
        :raises OSError: when one could not be written; in both cases, and with what ``read``
            raises, the checkpoints before that one are kept.
        """
        with self._lock:
            held = set(self._segments)
        for file in files:
            match = _match(file)
            if not match or match[1] in held:
                continue
            try:
                data = read(file)
                segment = _segment(self.folder / file, match, len(data))
                self._arrays(segment, data)
                write_whole(segment.path, data)
                self._note(match[1], segment)
            except BaseException:
                self._discard([match[1]])
                raise
            self.bytes_written += len(data)

    def discard(self, segment: CheckpointSegment) -> None:
        """Delete the checkpoint of a segment that proved to be damaged."""
        self._discard([segment.path.name.partition('.')[0]])

    def collect(self, live: Iterable[str]) -> None:
        """Delete all checkpoints but these and those that they stand on."""
        kept = {link[0].path.name.partition('.')[0] for digest in live
                for link in self.chain(digest)}
        with self._lock:
            rest = [name for name in self._segments if name not in kept]
        self._discard(rest)

    def _name(self, digest: str) -> str:
        """Return the name of a checkpoint: the state of another model has another one."""
        return self._cipher.digest(f'{self._fingerprint} {digest}'.encode())[:32]

    def _discard(self, names: Iterable[str]) -> None:
        with self._lock:
            segments = [p for name in names for p in self._segments.pop(name, ())]
        # The end first: what is left after a crash is no checkpoint any more.
        for segment in sorted(segments, key=lambda p: not p.last):
            with suppress(OSError):
                segment.path.unlink()

    def _note(self, name: str, segment: CheckpointSegment) -> None:
        with self._lock:
            self._segments.setdefault(name, []).append(segment)

    def _metadata(self, name: str, parent: str, start: int, end: int,
                  arrays: dict[str, np.ndarray]) -> dict[str, str]:
        digest = hashlib.blake2b(digest_size=16)
        for key in sorted(arrays):
            digest.update(f'{key} {arrays[key].dtype} {arrays[key].shape}'.encode())
            digest.update(np.ascontiguousarray(arrays[key]).data)
        return {'format': _FORMAT, 'fingerprint': self._fingerprint, 'digest': name,
                'parent': parent, 'rows': f'{start}-{end}', 'checksum': digest.hexdigest()}


def is_segment(file: str) -> bool:
    """Return whether a file name is that of a segment."""
    return bool(_match(file))


def _match(file: str) -> re.Match[str] | None:
    found = _NAME.fullmatch(file)
    return found if found and int(found[3]) < int(found[4]) else None


def _segment(path: Path, match: re.Match[str], size: int) -> CheckpointSegment:
    return CheckpointSegment(path, match[2], int(match[3]), int(match[4]), bool(match[5]), size)
