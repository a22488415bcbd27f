# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The authenticated list of the missions in an encrypted log: removals and rollbacks are noticed.

Each transaction that changes missions adds one record of what it changed, sealed with a counter
and with the digest of the record before it. From time to time a record of all missions is written
instead, and those after it take the places of the ones before: a transaction costs what it
changes, however many missions there are, and the disk is written where it was written before.
"""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
import json
from typing import Any

from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.log_schema import is_mission
from lfm_ros.storage.log_schema import MAX_UPTIME

SHORTEST = 64  # records, at least, from one of all missions to the next
MAX_ENTRIES = 1 << 32  # of a mission, by their places
MAX_MISSIONS = 1 << 31  # of a log, likewise


@dataclass(frozen=True)
class Head:
    """
    What is known of a mission.

    :param place: of its row in the table of missions, which is its place in the list.
    :param count: of its entries; ``link``: what :meth:`Ledger.link` makes of all of them, hex.
    The others are the columns of its row.
    """

    name: str
    place: int
    fingerprint: str
    slid: int
    tokens: int
    turns: int
    digest: str
    used: float
    count: int
    link: str

    @classmethod
    def of(cls, row: Sequence[Any], place: int, count: int, link: str) -> Head:
        """Return the head of a mission with this row in the table of missions."""
        name, fingerprint, slid, tokens, turns, digest, used = row
        return cls(name, place, fingerprint, slid, tokens, turns, digest, used, count, link)

    @property
    def row(self) -> tuple[Any, ...]:
        """Return its row in the table of missions, without the seal."""
        return (self.name, self.fingerprint, self.slid, self.tokens, self.turns, self.digest,
                self.used)

    @property
    def can_be(self) -> bool:
        """Return whether all of it is of the right type and size."""
        return type(self.place) is type(self.count) is int and type(self.link) is str and \
            0 < self.place < MAX_MISSIONS and 0 <= self.count < MAX_ENTRIES and \
            is_mission(self.row)


@dataclass(frozen=True)
class Record:
    """A row of the ledger, and what it says: new heads, names that are gone, the clock."""

    place: int
    counter: int
    sealed: bytes
    heads: tuple[Head, ...]
    gone: tuple[str, ...]
    clock: float

    @property
    def row(self) -> tuple[int, int, bytes]:
        """Return the row."""
        return self.place, self.counter, self.sealed


class Ledger:
    """
    What the records say.

    :param cipher: of rows; seals the records.
    :ivar heads: of the missions, by their hidden names.
    :ivar counter: of the last record; 0: there is none.
    :ivar places: how many there are, from the one of all missions on.
    :ivar clock: for how many seconds missions were kept.
    """

    def __init__(self, cipher: StorageCipher) -> None:
        self.heads: dict[str, Head] = {}
        self.counter = self.places = 0
        self.clock = 0.0
        self._cipher = cipher
        self._before = ''  # digest of the last record

    @classmethod
    def read(cls, cipher: StorageCipher, rows: Iterable[tuple[Any, ...]]) -> Ledger:
        """
        Return what the rows of a log say, in the order of their places.

        :raises Damaged: when they are not the ones that were written one after the other.
        """
        found = cls(cipher)
        for row in rows:
            if not found.counter or row[:2] == (found.places, found.counter + 1):
                found.add(found.opened(*row))
            elif not isinstance(row[1], int) or row[1] > found.counter:
                raise Damaged('the list of its missions is incomplete')
        if not found.counter:
            raise Damaged('there is no list of its missions')
        return found

    def opened(self, place: Any, counter: Any, sealed: Any) -> Record:
        """
        Return the record in the row that comes next.

        :raises Damaged: when it does not.
        """
        if place != self.places or not isinstance(counter, int):
            raise Damaged('the list of its missions is incomplete')
        text = self._cipher.open(sealed, self._where(place, counter), str)
        try:
            told = json.loads(text)
            heads = tuple(Head(*each) for each in told['heads'])
            gone, clock = tuple(told['gone']), told['clock']
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise Damaged('the list of its missions is invalid') from error
        if not all(head.can_be for head in heads) or any(type(name) is not str for name in gone) \
                or type(clock) is not float or not 0 <= clock < MAX_UPTIME:
            raise Damaged('the list of its missions is invalid')
        return Record(place, counter, sealed, heads, gone, clock)

    def next(self, heads: Iterable[Head] = (), gone: Iterable[str] = (),
             clock: float | None = None) -> Record:
        """Return the record of a change; it changes nothing before it is added."""
        clock, place = self.clock if clock is None else clock, self.places
        if place > max(SHORTEST, 2 * len(self.heads)):
            left = {**self.heads, **{head.name: head for head in heads}}
            for name in gone:
                left.pop(name, None)
            heads, gone, place = left.values(), (), 0
        heads, gone, counter = tuple(heads), tuple(gone), self.counter + 1
        told = json.dumps({'heads': [astuple(head) for head in heads], 'gone': gone,
                           'clock': clock})
        sealed = self._cipher.seal(told, self._where(place, counter))
        assert isinstance(sealed, bytes)
        return Record(place, counter, sealed, heads, gone, clock)

    def add(self, record: Record) -> None:
        """Take note of a record that is written."""
        if not record.place:
            self.heads = {}
        self.heads.update({head.name: head for head in record.heads})
        for name in record.gone:
            self.heads.pop(name, None)
        self.counter, self.clock = record.counter, record.clock
        self._before = self._cipher.digest(b'record ' + record.sealed)
        self.places = record.place + 1

    def ends_with(self, row: Any) -> bool:
        """Return whether a row is that of the last record."""
        return row is not None and row[1] == self.counter and isinstance(row[2], bytes) and \
            self._cipher.digest(b'record ' + row[2]) == self._before

    def digest(self, row: tuple[Any, ...]) -> bytes:
        """Return the digest of the row of an entry, with the name of its mission."""
        parts = [value if isinstance(value, bytes) else repr(value).encode(errors='replace')
                 for value in row]
        sizes = [f'{type(value).__name__} {len(part)}' for value, part in zip(row, parts)]
        return bytes.fromhex(self._cipher.digest(f'row {sizes}'.encode() + b''.join(parts)))

    def link(self, name: str, digests: Iterable[bytes], before: str = '', start: int = 0) -> str:
        """
        Return what binds entries to their mission, their order and all that came before them.

        :param digests: of the rows of entries, those from ``start`` on; ``before``: the link of
            those before.
        """
        for number, digest in enumerate(digests, start):
            told = f'link {name} {number} {before} {digest.hex()}'
            before = self._cipher.digest(told.encode())
        return before

    def _where(self, place: int, counter: int) -> str:
        # One of all missions begins anew: what came before it is written over.
        return f'record {counter} {place} {self._before if place else ""}'
