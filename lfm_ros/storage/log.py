# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The log: every committed entry of every mission, on disk before it is acknowledged."""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
import sqlite3
from typing import Any

from lfm_ros.conversation.transcript import Transcript
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.log_file import LogFile
from lfm_ros.storage.log_schema import COLUMNS
from lfm_ros.storage.log_schema import entry_row
from lfm_ros.storage.log_schema import FORGET_IMAGES
from lfm_ros.storage.log_schema import image_row
from lfm_ros.storage.log_schema import INSERT
from lfm_ros.storage.log_schema import is_mission
from lfm_ros.storage.log_schema import seal_of
from lfm_ros.storage.log_schema import sealed_at
from lfm_ros.storage.log_schema import take
from lfm_ros.storage.log_schema import to_image
from lfm_ros.storage.log_schema import UPSERT

Rows = list[Sequence[Any]]  # in the class, list is a method


@dataclass(frozen=True)
class Summary:
    """What the log tells of a mission without its entries."""

    mission_id: str
    fingerprint: str
    tokens: int
    turns: int
    digest: str
    used: float


class MissionLog(LogFile):
    """
    A file on a disk, or tables in memory for a robot without a place to keep missions.

    Writing makes the log equal to a transcript: whatever failed before is made up for by the next
    write that succeeds.
    """

    def write(self, transcript: Transcript, used: float = 0.0) -> None:
        """
        Make the log of a mission equal to its transcript.

        :param used: uptime of the store when it was last used.
        """
        start, encrypt_name, before = transcript.logged, self.cipher.encrypt_name, ''
        name = encrypt_name(transcript.mission_id)
        if self._chain:
            link = self._chain.link(name, start)
            # What cannot be proved to be in the log is written anew.
            start, before = (start, link) if link is not None else (0, '')
        rows = [entry_row(self._rows, transcript.mission_id, number, *part)
                for number, part in enumerate(transcript.parts(start), start)]
        tokens = transcript.tokens_of(len(transcript.entries))
        with self._transaction() as run:
            run.execute('DELETE FROM entries WHERE mission_id = ? AND number >= ?', (name, start))
            run.executemany(INSERT, rows)
            gone = run.execute('DELETE FROM shown WHERE mission_id = ? AND number >= ?',
                               (name, start)).rowcount
            for number, entry in enumerate(transcript.entries[start:], start):
                for place, prepared in enumerate(entry.images):
                    run.execute('INSERT INTO shown VALUES (?, ?, ?, ?)',
                                (name, number, place, encrypt_name(prepared.digest)))
                    run.execute('INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?, ?, ?)',
                                image_row(self._rows, prepared))
            if gone:
                run.execute(FORGET_IMAGES)
            # An upsert keeps the place of the row, which is the order in which missions began.
            row = (name, transcript.fingerprint, transcript.slid, tokens,
                   transcript.turn_count, encrypt_name(transcript.digest), float(used))
            rowid, counter = (self._chain.place(name), self._chain.ledger.counter + 1) \
                if self._chain else (None, 0)
            run.execute(UPSERT, (*row, seal_of(self._rows, row, counter), rowid))
            if self._chain:
                self._chain.write(row, start, before, rows)
        transcript.logged = len(transcript.entries)

    def read(self, mission_id: str) -> Transcript:
        """Return the transcript of a mission, as far as it is undamaged; empty if none is."""
        return self.examine(mission_id)[0]

    def examine(self, mission_id: str) -> tuple[Transcript, str]:
        """Return what :meth:`read` does, and with a key what is wrong; empty: nothing is."""
        name, wrong, head = self.cipher.encrypt_name(mission_id), '', None
        with self._reading():
            if self._chain:
                head = self._chain.heads.get(name)
                row = (head.fingerprint, head.slid) if head else None
            else:
                row = self.database.execute('SELECT fingerprint, slid FROM missions WHERE '
                                            'mission_id = ?', (name,)).fetchone()
            fingerprint, slid = row or ('', 0)
            found = Transcript(mission_id, fingerprint, slid=slid)
            rows: Rows = self.database.execute(
                f'SELECT {COLUMNS} FROM entries WHERE mission_id = ? AND number >= 0 '
                'ORDER BY number', (name,)).fetchall() if row else []
            if self._chain and head:
                rows, wrong = self._chain.proven(head, rows)
            with suppress(Damaged):
                images = self._images(name)
                for entry in rows:
                    take(self._rows, found, entry, [to_image(self._rows, prepared)
                                                    for prepared in images.get(entry[0], ())])
        if head and len(found.entries) < head.count and not wrong:
            wrong = f'data of its entry {len(found.entries)} is damaged'
        found.logged = len(found.entries)
        return found, wrong

    def digests(self, mission_id: str) -> list[str]:
        """Return the digests of the entries of a mission that are good, the first one first."""
        found = []
        for row in self.database.execute('SELECT digest FROM entries WHERE mission_id = ? '
                                         'ORDER BY number',
                                         (self.cipher.encrypt_name(mission_id),)):
            with suppress(Damaged):
                if isinstance(digest := self.cipher.decrypt_name(row[0]), str):
                    found.append(digest)
        return found

    def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        with self._transaction() as run:
            for table in ('missions', 'entries', 'shown'):
                run.execute(f'DELETE FROM {table} WHERE mission_id = ?',
                            (self.cipher.encrypt_name(mission_id),))
            run.execute(FORGET_IMAGES)
            if self._chain:
                self._chain.delete(self.cipher.encrypt_name(mission_id))

    def list(self) -> list[Summary]:
        """Return all missions, in the order in which they began."""
        if self._chain:
            with self._reading():
                heads = sorted(self._chain.heads.values(), key=lambda head: head.place)
            return [self._summary(head.row) for head in heads]
        found = []
        for row in self.database.execute('SELECT * FROM missions ORDER BY rowid'):
            if not is_mission(row[:-1]) or \
                    self.cipher.key_id and sealed_at(self._rows, row) is None:
                raise sqlite3.DatabaseError(f'its record of mission {row[0]!r:.80} is damaged')
            found.append(self._summary(row[:-1]))
        return found

    def find(self, mission_id: str) -> Summary | None:
        """Return one mission, if it is there."""
        return next((s for s in self.list() if s.mission_id == mission_id), None)

    def nbytes(self, mission_id: str) -> int:
        """Return how much was written of a mission: texts, ids, chunk sizes, images."""
        columns = ('prompt', 'text', 'sampling', 'ids', 'sizes')
        total = ' + '.join(f'LENGTH(CAST({name} AS BLOB))' for name in columns)
        name = self.cipher.encrypt_name(mission_id)
        return sum(self.database.execute(query, (name,)).fetchone()[0] or 0 for query in (
            f'SELECT SUM({total}) FROM entries WHERE mission_id = ?',
            'SELECT SUM(LENGTH(main) + LENGTH(thumbnail)) FROM pictures WHERE digest IN '
            '(SELECT digest FROM shown WHERE mission_id = ?)'))

    def keep_time(self, uptime: float) -> None:
        """Write for how many seconds missions were kept here."""
        with self._transaction() as run:
            run.execute('INSERT OR REPLACE INTO clock VALUES (0, ?)', (uptime,))
            if self._chain:
                self._chain.keep_time(float(uptime))

    def _summary(self, row: Sequence[Any]) -> Summary:
        """Return what a row of the table of missions tells, without its seal."""
        name, model, _, tokens, turns, digest, used = row
        return Summary(self._decrypt_name(name), model, tokens, turns,
                       self._decrypt_name(digest), used)

    def _images(self, name: str) -> dict[int, Rows]:
        """Return the rows of the images of a mission by the numbers of their entries."""
        found: dict[int, Rows] = {}
        for number, *row in self.database.execute(
                'SELECT number, p.* FROM shown LEFT JOIN pictures AS p USING (digest) '
                'WHERE mission_id = ? ORDER BY number, place', (name,)):
            found.setdefault(number, []).append(row)
        return found
