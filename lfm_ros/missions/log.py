# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The log: every committed entry of every mission, on disk before it is acknowledged."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import sqlite3
from typing import Any

from lfm_ros.missions.chain import Chain
from lfm_ros.missions.files import PRIVATE
from lfm_ros.missions.pages import check_file
from lfm_ros.missions.reseal import begin_chain
from lfm_ros.missions.rows import COLUMNS
from lfm_ros.missions.rows import decode
from lfm_ros.missions.rows import entry_row
from lfm_ros.missions.rows import FILE_ID
from lfm_ros.missions.rows import FORGET_PICTURES
from lfm_ros.missions.rows import formats_of
from lfm_ros.missions.rows import IN_MEMORY
from lfm_ros.missions.rows import INSERT
from lfm_ros.missions.rows import picture_row
from lfm_ros.missions.rows import schema_for
from lfm_ros.missions.rows import schema_of
from lfm_ros.missions.rows import seal_of
from lfm_ros.missions.rows import sealed_at
from lfm_ros.missions.rows import take
from lfm_ros.missions.rows import to_picture
from lfm_ros.missions.rows import UPSERT
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


class NewerVersion(sqlite3.Error):
    """A file was written by a version of lfm_ros that does not exist yet."""


class MissionLog:
    """
    A SQLite file in WAL mode, or a table in memory for a robot without a place to keep missions.

    Writing makes the log equal to a transcript: whatever failed before is made up for by the next
    write that succeeds.

    With a key all of it is chained: what is older than the rest, or gone, is found. The list of
    missions is compared when the file is opened, the entries of a mission when it is read.

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
        self._rows = vault.rows
        self._chain: Chain | None = None
        self._read_only = read_only
        if read_only:
            self._database = sqlite3.connect(f'{Path(file).absolute().as_uri()}?mode=ro', uri=True,
                                             isolation_level=None)
            self._database.text_factory = decode
            self._open_to_read()
            return
        if self._wal:
            try:  # SQLite would let everybody read it, and try long where it cannot write
                os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE))
            except OSError as error:
                raise sqlite3.OperationalError(error.strerror) from error
            check_file(Path(file))
        # No isolation level: transactions begin and end where the code says so.
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._database.text_factory = decode
        try:
            self._open()
        except BaseException as error:
            self._database.close()
            if isinstance(error, UnicodeDecodeError):  # SQLite cites what is damaged
                raise sqlite3.DatabaseError('its tables are damaged') from error
            raise

    def _open_to_read(self) -> None:
        """Get along with what is there: nothing may be changed."""
        version = self._database.execute('PRAGMA user_version').fetchone()[0]
        formats = formats_of(self.vault)
        if self.vault.key_id and schema_of(self._database) == schema_for(formats):
            self._chain, version = Chain(self._database, self._rows), len(formats)
        elif self.vault.key_id:
            self._rows = self.vault  # from before logs were chained
        for script in formats[max(version, 1):]:  # what an older file lacks is empty here
            self._database.executescript(script.replace('CREATE TABLE', 'CREATE TEMP TABLE'))

    def _open(self) -> None:
        run = self._database.execute
        run('PRAGMA page_size=1024')        # a turn changes five pages; flash wears out
        run('PRAGMA journal_mode=WAL')
        run('PRAGMA synchronous=FULL')      # a commit is on the disk when it returns
        # An automatic checkpoint would make some commit wait for it; maintain() does it instead.
        run('PRAGMA wal_autocheckpoint=0')
        run('PRAGMA secure_delete=ON')      # what is deleted is gone; salvage() relies on it
        version, name = (run(f'PRAGMA {each}').fetchone()[0]
                         for each in ('user_version', 'application_id'))
        formats = formats_of(self.vault)
        if version > len(formats) and name == FILE_ID + version:
            raise NewerVersion(f'a newer version of lfm_ros wrote it, in format {version}')
        with self._transaction():           # it may only be readable; tell now
            schema = schema_of(self._database)
            known = version if schema else 0
            if known < len(formats) and name == (FILE_ID + known if known else 0) and \
                    schema == schema_for(formats[:known]):
                for table in ''.join(formats[known:]).split(';'):
                    run(table)
                run(f'PRAGMA user_version={len(formats)}')
                run(f'PRAGMA application_id={FILE_ID + len(formats)}')
                if self.vault.key_id:
                    begin_chain(self._database, self.vault)
            run('DELETE FROM clock WHERE 0')
        self._check()

    def _check(self) -> None:
        """Raise an error when something is damaged that :meth:`read` would not tell."""
        run = self._database.execute
        result = run('PRAGMA integrity_check(1)').fetchone()[0]
        if result != 'ok':
            raise sqlite3.DatabaseError(result)
        if schema_of(self._database) != schema_for(formats_of(self.vault)):
            raise sqlite3.DatabaseError('its tables are not those of a log')
        if self.vault.key_id:
            self._chain = Chain(self._database, self._rows)
            self._chain.load()
        known = set()
        for row in run('SELECT * FROM missions'):
            known.add(row[0])
            if sealed_at(self._rows, row) is None:
                raise sqlite3.DatabaseError(f'what it says of mission {row[0]!r} is damaged')
        if known != {row[0] for row in run('SELECT DISTINCT mission_id FROM entries')}:
            raise sqlite3.DatabaseError('entries and missions do not agree')
        if type(self.uptime) is not float or not 0 <= self.uptime < 1e10:
            raise sqlite3.DatabaseError('its clock is damaged')

    def write(self, transcript: Transcript, used: float = 0.0) -> None:
        """
        Make the log of a mission equal to its transcript.

        :param used: uptime of the store when it was last used.
        """
        start, hide, before = transcript.logged, self.vault.hide, ''
        name = hide(transcript.mission_id)
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
                for place, picture in enumerate(entry.images):
                    run.execute('INSERT INTO shown VALUES (?, ?, ?, ?)',
                                (name, number, place, hide(picture.digest)))
                    run.execute('INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?, ?, ?)',
                                picture_row(self._rows, picture))
            if gone:
                run.execute(FORGET_PICTURES)
            # An upsert keeps the place of the row, which is the order in which missions began.
            row = (name, transcript.fingerprint, transcript.slid, tokens,
                   transcript.turn_count, hide(transcript.digest), float(used))
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
        name, wrong, head = self.vault.hide(mission_id), '', None
        with self._reading():
            if self._chain:
                head = self._chain.heads.get(name)
                row = (head.fingerprint, head.slid) if head else None
            else:
                row = self._database.execute('SELECT fingerprint, slid FROM missions WHERE '
                                             'mission_id = ?', (name,)).fetchone()
            fingerprint, slid = row or ('', 0)
            found = Transcript(mission_id, fingerprint, slid=slid)
            rows: Rows = self._database.execute(
                f'SELECT {COLUMNS} FROM entries WHERE mission_id = ? AND number >= 0 '
                'ORDER BY number', (name,)).fetchall() if row else []
            if self._chain and head:
                rows, wrong = self._chain.proven(head, rows)
            with suppress(Damaged):
                images = self._images(name)
                for entry in rows:
                    take(self._rows, found, entry, [to_picture(self._rows, picture)
                                                    for picture in images.get(entry[0], ())])
        if head and len(found.entries) < head.count and not wrong:
            wrong = f'what belongs to its entry {len(found.entries)} is damaged'
        found.logged = len(found.entries)
        return found, wrong

    def digests(self, mission_id: str) -> list[str]:
        """Return the digests of the entries of a mission that are good, the first one first."""
        found = []
        for row in self._database.execute('SELECT digest FROM entries WHERE mission_id = ? '
                                          'ORDER BY number', (self.vault.hide(mission_id),)):
            with suppress(Damaged):
                found.append(self.vault.reveal(row[0]))
        return found

    def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        with self._transaction() as run:
            for table in ('missions', 'entries', 'shown'):
                run.execute(f'DELETE FROM {table} WHERE mission_id = ?',
                            (self.vault.hide(mission_id),))
            run.execute(FORGET_PICTURES)
            if self._chain:
                self._chain.delete(self.vault.hide(mission_id))

    def list(self) -> list[Summary]:
        """Return all missions, in the order in which they began."""
        if self._chain:
            with self._reading():
                heads = sorted(self._chain.heads.values(), key=lambda head: head.place)
            return [Summary(self._reveal(h.name), h.fingerprint, h.tokens, h.turns,
                            self._reveal(h.digest), h.used) for h in heads]
        found = []
        for row in self._database.execute('SELECT * FROM missions ORDER BY rowid'):
            if self.vault.key_id and sealed_at(self._rows, row) is None:
                raise sqlite3.DatabaseError(f'what it says of mission {row[0]!r} is damaged')
            name, model, _, tokens, turns, digest, used, _ = row
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
        if self._chain:
            with self._reading():
                return max([self._chain.ledger.clock,
                            *(head.used for head in self._chain.heads.values())])
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
            if self._chain:
                self._chain.keep_time(float(uptime))

    def maintain(self) -> None:
        """Move what was committed from the WAL into the file, when it is worth it."""
        if self._wal and self._measure() > LONGEST_WAL:
            self._truncate()

    def copy_to(self, file: Path) -> None:
        """
        Copy all that is in it into a file that is not there yet.

        :raises OSError: when there is such a file, or it cannot be made.
        """
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE))
        with closing(sqlite3.connect(file)) as copy:
            self._database.backup(copy)

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
    def _reading(self) -> Iterator[None]:
        """See one state of a file into which another process may be writing."""
        if not (self._read_only and self._chain):
            yield
            return
        self._database.execute('BEGIN')
        try:
            self._chain.load()
            yield
        finally:
            self._database.execute('ROLLBACK')

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
            if self._chain:
                self._chain.begin()
            yield database
            database.execute('COMMIT')
            self._failed = False
            if self._chain:
                self._chain.committed()
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
