# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The log: every committed entry of every mission, on disk before it is acknowledged."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
import sqlite3
from typing import Any

from lfm_ros.errors import LfmError
from lfm_ros.missions.database import check_schema
from lfm_ros.missions.database import connect
from lfm_ros.missions.request import check_mission_id
from lfm_ros.missions.rows import COLUMNS
from lfm_ros.missions.rows import decode
from lfm_ros.missions.rows import entry_row
from lfm_ros.missions.rows import FILE_ID
from lfm_ros.missions.rows import FORGET_PICTURES
from lfm_ros.missions.rows import IN_MEMORY
from lfm_ros.missions.rows import INSERT
from lfm_ros.missions.rows import is_mission
from lfm_ros.missions.rows import LONGEST_UPTIME
from lfm_ros.missions.rows import picture_row
from lfm_ros.missions.rows import SCHEMA
from lfm_ros.missions.rows import schema_of
from lfm_ros.missions.rows import seal_of
from lfm_ros.missions.rows import take
from lfm_ros.missions.rows import to_picture
from lfm_ros.missions.rows import UPSERT
from lfm_ros.missions.rows import VERSION
from lfm_ros.missions.rows import VERSIONS
from lfm_ros.missions.transcript import Transcript
from lfm_ros.missions.vault import Damaged
from lfm_ros.missions.vault import Vault

LONGEST_WAL = 4 << 20  # bytes

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


class MissionLog:
    """
    A SQLite file in WAL mode, or a table in memory for a robot without a place to keep missions.

    Writing makes the log equal to a transcript: whatever failed before is made up for by the next
    write that succeeds.

    :param file: or :data:`IN_MEMORY`.
    :param vault: seals what is written. What another key wrote looks damaged: see that there is
        none with :meth:`Vault.check`.
    :ivar bytes_written: what was written to the disk since it was opened.
    :raises sqlite3.Error: when the file cannot be used; also every method may. NewerVersion when
        only this version of lfm_ros cannot.
    """

    def __init__(self, file: Path | str, read_only: bool = False, vault: Vault = Vault()
                 ) -> None:
        self.bytes_written = 0
        self.vault = vault
        self._wal = None if file == IN_MEMORY else Path(f'{file}-wal')
        self._wal_size = 0
        self._failed = False  # the last transaction
        if read_only:
            self._database = connect(file, read_only)
            self._database.text_factory = decode
            # It may not be changed here: what an older file lacks is empty in this connection.
            for script in VERSIONS[max(check_schema(self._database), 1):]:
                self._database.executescript(script.replace('CREATE TABLE', 'CREATE TEMP TABLE'))
            return
        self._database = connect(file)
        self._database.text_factory = decode
        try:
            self._open()
        except BaseException as error:
            self._database.close()
            if isinstance(error, UnicodeDecodeError):  # SQLite cites what is damaged
                raise sqlite3.DatabaseError('its tables are damaged') from error
            raise

    def _open(self) -> None:
        run = self._database.execute
        run('PRAGMA page_size=1024')        # a turn changes five pages; flash wears out
        run('PRAGMA journal_mode=WAL')
        run('PRAGMA synchronous=FULL')      # a commit is on the disk when it returns
        # An automatic checkpoint would make some commit wait for it; maintain() does it instead.
        run('PRAGMA wal_autocheckpoint=0')
        run('PRAGMA secure_delete=ON')      # what is deleted is gone; salvage() relies on it
        known = check_schema(self._database)
        name = run('PRAGMA application_id').fetchone()[0]
        with self._transaction():           # it may only be readable; tell now
            if known < VERSION and name == (FILE_ID + known if known else 0):
                for table in ''.join(VERSIONS[known:]).split(';'):
                    run(table)
                run(f'PRAGMA user_version={VERSION}')
                run(f'PRAGMA application_id={FILE_ID + VERSION}')
            run('DELETE FROM clock WHERE 0')
        self._check()

    def _check(self) -> None:
        """Raise an error when something is damaged that :meth:`read` would not tell."""
        run = self._database.execute
        result = run('PRAGMA integrity_check(1)').fetchone()[0]
        if result != 'ok':
            raise sqlite3.DatabaseError(result)
        if schema_of(self._database) != SCHEMA:
            raise sqlite3.DatabaseError('its tables are not those of a log')
        known = set()
        for *row, seal in run('SELECT * FROM missions'):
            known.add(row[0])
            if seal != seal_of(self.vault, row) or not is_mission(row):
                raise sqlite3.DatabaseError(f'what it says of mission {row[0]!r:.80} is damaged')
            _check_name(self._reveal(row[0]))
        if known != {row[0] for row in run('SELECT DISTINCT mission_id FROM entries')}:
            raise sqlite3.DatabaseError('entries and missions do not agree')
        if type(self.uptime) is not float or \
                not 0 <= self.uptime < LONGEST_UPTIME:
            raise sqlite3.DatabaseError('its clock is damaged')

    def write(self, transcript: Transcript, used: float = 0.0) -> None:
        """
        Make the log of a mission equal to its transcript.

        :param used: uptime of the store when it was last used.
        """
        start, hide = transcript.logged, self.vault.hide
        name = hide(transcript.mission_id)
        rows = [entry_row(self.vault, transcript.mission_id, number, *part)
                for number, part in enumerate(transcript.parts(start), start)]
        tokens = transcript.tokens_of(len(transcript.entries))
        with self._transaction() as run:
            run.execute('DELETE FROM entries WHERE mission_id = ? AND number >= ?', (name, start))
            run.executemany(INSERT, rows)
            gone = run.execute('DELETE FROM shown WHERE mission_id = ? AND number >= ?',
                               (name, start)).rowcount
            for number, entry in enumerate(transcript.entries[start:], start):
                for place, picture in enumerate(entry.images):
                    run.execute('INSERT INTO shown VALUES (?, ?, ?, ?)',
                                (name, number, place, hide(picture.digest)))
                    run.execute('INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?, ?, ?)',
                                picture_row(self.vault, picture))
            if gone:
                run.execute(FORGET_PICTURES)
            # An upsert keeps the place of the row, which is the order in which missions began.
            row = (name, transcript.fingerprint, transcript.slid, tokens,
                   transcript.turn_count, hide(transcript.digest), float(used))
            run.execute(UPSERT, (*row, seal_of(self.vault, row)))
        transcript.logged = len(transcript.entries)

    def read(self, mission_id: str) -> Transcript:
        """Return the transcript of a mission, as far as it is undamaged; empty if none is."""
        name = self.vault.hide(mission_id)
        row = self._database.execute('SELECT fingerprint, slid FROM missions WHERE mission_id = ?',
                                     (name,)).fetchone() or ('', 0)
        found = Transcript(mission_id, row[0], slid=row[1])
        with suppress(Damaged):
            images = self._images(name)
            for entry in self._database.execute(f'SELECT {COLUMNS} FROM entries WHERE mission_id '
                                                '= ? AND number >= 0 ORDER BY number',
                                                (name,)):
                take(self.vault, found, entry, [to_picture(self.vault, row)
                                                for row in images.get(entry[0], ())])
        found.logged = len(found.entries)
        return found

    def digests(self, mission_id: str) -> list[str]:
        """Return the digests of all entries of a mission, the first one first."""
        return [self._reveal(row[0]) for row in self._database.execute(
            'SELECT digest FROM entries WHERE mission_id = ? ORDER BY number',
            (self.vault.hide(mission_id),))]

    def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        with self._transaction() as run:
            for table in ('missions', 'entries', 'shown'):
                run.execute(f'DELETE FROM {table} WHERE mission_id = ?',
                            (self.vault.hide(mission_id),))
            run.execute(FORGET_PICTURES)

    def list(self) -> list[Summary]:
        """Return all missions, in the order in which they began."""
        found = []
        for *row, _ in self._database.execute('SELECT * FROM missions ORDER BY rowid'):
            if not is_mission(row):
                raise sqlite3.DatabaseError(f'what it says of mission {row[0]!r:.80} is damaged')
            name, model, _, tokens, turns, digest, used = row
            found.append(Summary(self._reveal(name), model, tokens, turns, self._reveal(digest),
                                 used))
        return found

    def find(self, mission_id: str) -> Summary | None:
        """Return one mission, if it is there."""
        return next((s for s in self.list() if s.mission_id == mission_id), None)

    def nbytes(self, mission_id: str) -> int:
        """Return how much was written of a mission: texts, ids, sizes of calls, pictures."""
        columns = ('prompt', 'text', 'sampling', 'ids', 'sizes')
        total = ' + '.join(f'LENGTH(CAST({name} AS BLOB))' for name in columns)
        name = self.vault.hide(mission_id)
        return sum(self._database.execute(query, (name,)).fetchone()[0] or 0 for query in (
            f'SELECT SUM({total}) FROM entries WHERE mission_id = ?',
            'SELECT SUM(LENGTH(main) + LENGTH(thumbnail)) FROM pictures WHERE digest IN '
            '(SELECT digest FROM shown WHERE mission_id = ?)'))

    @property
    def uptime(self) -> float:
        """Return for how many seconds missions were kept here, as far as that was written."""
        return self._database.execute('SELECT MAX(s) FROM (SELECT seconds AS s FROM clock UNION '
                                      'SELECT used AS s FROM missions)').fetchone()[0] or 0.0

    @property
    def memory(self) -> int:
        """Return the memory that it takes; 0 when it is on a disk."""
        if self._wal:
            return 0
        pages, size = (self._database.execute(f'PRAGMA {name}').fetchone()[0]
                       for name in ('page_count', 'page_size'))
        return int(pages * size)

    def keep_time(self, uptime: float) -> None:
        """Write for how many seconds missions were kept here."""
        with self._transaction() as run:
            run.execute('INSERT OR REPLACE INTO clock VALUES (0, ?)', (uptime,))

    def maintain(self) -> None:
        """Move what was committed from the WAL into the file, when it is worth it."""
        if self._wal and self._measure() > LONGEST_WAL:
            self._truncate()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _reveal(self, name: str) -> str:
        """Return what was hidden in a row that opening the file found to be whole."""
        try:
            return self.vault.reveal(name)
        except Damaged as error:
            raise sqlite3.DatabaseError(str(error)) from error

    def _images(self, name: str) -> dict[int, Rows]:
        """Return the rows of the pictures of a mission by the numbers of their entries."""
        found: dict[int, Rows] = {}
        for number, *row in self._database.execute(
                'SELECT number, p.* FROM shown LEFT JOIN pictures AS p USING (digest) '
                'WHERE mission_id = ? ORDER BY number, place', (name,)):
            found.setdefault(number, []).append(row)
        return found

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing."""
        database = self._database
        if self._failed:
            # What a commit that failed left in the WAL would look like damage behind the next one.
            if not self._truncate():
                raise sqlite3.OperationalError('another process reads it for long')
        self._failed = True
        database.execute('BEGIN IMMEDIATE')
        try:
            yield database
            database.execute('COMMIT')
            self._failed = False
        finally:
            if database.in_transaction:
                database.execute('ROLLBACK')
        size = self._measure()
        self.bytes_written += size - self._wal_size if size >= self._wal_size else size
        self._wal_size = size

    def _truncate(self) -> bool:
        """Move all from the WAL into the file, unless somebody reads it."""
        busy = self._database.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0]
        self._wal_size = self._measure()
        return not busy

    def _measure(self) -> int:
        try:
            return self._wal.stat().st_size if self._wal else 0
        except OSError:
            return 0


def _check_name(mission_id: str) -> None:
    """Refuse a name that no mission can have: it would go to files, messages and terminals."""
    try:
        check_mission_id(mission_id)
    except LfmError as error:
        raise sqlite3.DatabaseError('it has a mission of a name that cannot be one') from error
