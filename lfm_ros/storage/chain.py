# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prove that no row of an encrypted log is older than the rest."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import sqlite3
from typing import Any

from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.ledger import Head
from lfm_ros.storage.ledger import Ledger
from lfm_ros.storage.ledger import MAX_ENTRIES
from lfm_ros.storage.ledger import Record
from lfm_ros.storage.log_schema import sealed_at


def place_of(mission: int, number: int = 0) -> int:
    """Return the place of the proof of an entry, by the place of its mission in the list."""
    return mission * MAX_ENTRIES + number


class Chain:
    """
    The ledger of a log, and the proofs of its entries.

    What it knows is in memory: what others write into the file while it is open is not believed.
    What is written belongs to a transaction of the log, and is known once that is committed.

    :param cipher: of rows.
    """

    def __init__(self, database: sqlite3.Connection, cipher: StorageCipher) -> None:
        self.ledger = Ledger(cipher)
        self._run = database.execute
        self._cipher = cipher
        self._written: Record | None = None

    @property
    def heads(self) -> dict[str, Head]:
        """Return what is known of the missions, by their hidden names."""
        return self.ledger.heads

    def load(self) -> None:
        """
        Learn what is known from the file, and compare the lists there with it.

        :raises sqlite3.DatabaseError: with all that is not as it was written last.
        """
        try:
            self.ledger = Ledger.read(self._cipher, self._run(
                'SELECT place, counter, record FROM ledger ORDER BY place'))
        except Damaged as error:
            raise sqlite3.DatabaseError(f'the list of its missions cannot be proved: {error}'
                                        ) from error
        rows = {row[1]: tuple(row) for row in self._run('SELECT rowid, * FROM missions')}
        wrong = [f'mission {self._named(name)} was added by something else'
                 for name in rows if name not in self.heads]
        for name, head in self.heads.items():
            if name not in rows:
                wrong.append(f'mission {self._named(name)} was removed by something else')
            elif rows[name][:-1] != (head.place, *head.row) or \
                    sealed_at(self._cipher, rows[name][1:]) is None:
                wrong.append(f'mission {self._named(name)} is not as it was written last')
        clock = self._run('SELECT MAX(seconds) FROM clock').fetchone()[0]
        if (clock or 0.0) != self.ledger.clock:
            wrong.append('its clock is damaged')
        if wrong:
            more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
            raise sqlite3.DatabaseError(f'{", ".join(wrong[:3])}{more}')

    def begin(self) -> None:
        """
        Begin a transaction.

        :raises sqlite3.DatabaseError: when something else has written into the file.
        """
        self._written = None
        if self.ledger.counter and not self.ledger.ends_with(self._run(
                'SELECT place, counter, record FROM ledger WHERE place = ?',
                (self.ledger.places - 1,)).fetchone()):
            raise sqlite3.DatabaseError('something else has changed it')

    def committed(self) -> None:
        """Take note that what was written is on the disk."""
        if self._written:
            self.ledger.add(self._written)
        self._written = None

    def place(self, name: str) -> int:
        """Return the place in the list of a mission, or of a new one."""
        if name in self.heads:
            return self.heads[name].place
        return 1 + max((head.place for head in self.heads.values()), default=0)

    def link(self, name: str, count: int) -> str | None:
        """Return the link of the first entries of a mission; None: it cannot be proved."""
        head = self.heads.get(name)
        if not count:
            return ''
        if head and count == head.count:
            return head.link
        digests = self.digests(head) if head and count < head.count else None
        return None if digests is None else self.ledger.link(name, digests[:count])

    def digests(self, head: Head) -> list[bytes] | None:
        """Return the digests of the rows of all entries of a mission; None: they are damaged."""
        found = self._run('SELECT place, digest FROM proofs WHERE place BETWEEN ? AND ? '
                          'ORDER BY place', _places(head.place)).fetchall()
        digests = [row[1] for row in found]
        if len(found) != head.count or not all(isinstance(each, bytes) for each in digests) or \
                self.ledger.link(head.name, digests) != head.link:
            return None
        return digests

    def proven(self, head: Head, rows: Sequence[Any]) -> tuple[list[Any], str]:
        """
        Return the entries of a mission, from the first one on, that are those written last.

        :param rows: of entries, with all columns but the id and the name of the mission.
        :returns: also what is wrong; empty: nothing is.
        """
        found = [self.ledger.digest((head.name, *row)) for row in rows]
        known = self.digests(head)
        if known is None:  # the entries may be good nevertheless
            known = found if self.ledger.link(head.name, found) == head.link else []
            if not known:
                return [], 'its entries are not those that were written last'
        count = next((number for number, (one, other) in enumerate(zip(found, known))
                      if one != other), min(len(found), len(known)))
        if count < head.count:
            gone = all(row[0] != count for row in rows)
            return list(rows[:count]), f'its entry {count} is ' + (
                'gone' if gone else 'not the one that was written last')
        return list(rows[:count]), 'entries were added to it' if len(rows) > count else ''

    def write(self, row: Sequence[Any], start: int, before: str,
              entries: Sequence[tuple[Any, ...]]) -> None:
        """
        Write the proofs of entries, which take the place of those from ``start`` on.

        :param row: of the table of missions, without the seal; ``before``: the link of the
            entries that stay.
        """
        name, place = row[0], self.place(row[0])
        count, link = self.prove(name, place, entries, start, before)
        self._write(heads=[Head.of(row, place, count, link)])

    def prove(self, name: str, place: int, entries: Sequence[tuple[Any, ...]], start: int = 0,
              before: str = '') -> tuple[int, str]:
        """Write the proofs of entries, see :meth:`write`; return the count and link of all."""
        digests = [self.ledger.digest(entry) for entry in entries]
        self._run('DELETE FROM proofs WHERE place BETWEEN ? AND ?', _places(place, start))
        for number, digest in enumerate(digests, start):
            self._run('INSERT INTO proofs VALUES (?, ?)', (place_of(place, number), digest))
        return start + len(entries), self.ledger.link(name, digests, before, start)

    def delete(self, name: str) -> None:
        """Take a mission off the list."""
        if name in self.heads:
            self._run('DELETE FROM proofs WHERE place BETWEEN ? AND ?',
                      _places(self.heads[name].place))
            self._write(gone=[name])

    def keep_time(self, uptime: float) -> None:
        """Write for how many seconds missions were kept."""
        self._write(clock=uptime)

    def begin_with(self, heads: Iterable[Head], clock: float) -> None:
        """Write the first list of a log."""
        self._write(heads=heads, clock=clock)

    def _write(self, heads: Iterable[Head] = (), gone: Iterable[str] = (),
               clock: float | None = None) -> None:
        assert not self._written
        self._written = record = self.ledger.next(heads, gone, clock)
        self._run('INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)', record.row)

    def _named(self, name: Any) -> str:
        try:
            return repr(self._cipher.decrypt_name(name))
        except Damaged:
            return f'{name!r:.80}'


def _places(mission: int, start: int = 0) -> tuple[int, int]:
    return place_of(mission, start), place_of(mission, MAX_ENTRIES - 1)
