# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open, check and write the file of a log."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
import os
from pathlib import Path
import sqlite3

from lfm_ros.conversation.mission_id import check_mission_id
from lfm_ros.errors import LfmError
from lfm_ros.files import open_file
from lfm_ros.storage.chain import Chain
from lfm_ros.storage.database import check_schema
from lfm_ros.storage.database import connect
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.log_schema import decode
from lfm_ros.storage.log_schema import FILE_ID
from lfm_ros.storage.log_schema import formats_of
from lfm_ros.storage.log_schema import IN_MEMORY
from lfm_ros.storage.log_schema import MAX_UPTIME
from lfm_ros.storage.log_schema import schema_for
from lfm_ros.storage.log_schema import schema_of
from lfm_ros.storage.log_schema import sealed_at
from lfm_ros.storage.reseal import begin_chain

MAX_WAL_BYTES = 4 << 20  # bytes


class LogFile:
    """
    A SQLite file in WAL mode, or a database in memory, with the tables of a log.

    With a key all of it is chained: what is older than the rest, or gone, is found. The list of
    missions is compared when the file is opened, the entries of a mission when it is read.

    :param file: or :data:`IN_MEMORY`.
    :param cipher: seals what is written. What another key wrote looks damaged: see that there is
        none with :meth:`StorageCipher.check`.
    :ivar database: the open SQLite file.
    :ivar bytes_written: what was written to the disk since it was opened.
    :raises sqlite3.Error: when the file cannot be used; also every method may. NewerVersion when
        only this version of lfm_ros cannot.
    """

    def __init__(self, file: Path | str, read_only: bool = False,
                 cipher: StorageCipher = StorageCipher()
                 ) -> None:
        self.bytes_written = 0
        self.cipher = cipher
        self._wal = None if file == IN_MEMORY else Path(f'{file}-wal')
        self._wal_size = 0
        self._failed = False  # the last transaction
        self._rows = cipher.rows
        self._chain: Chain | None = None
        self._read_only = read_only
        self.database = connect(file, read_only)
        self.database.text_factory = decode
        try:
            if read_only:
                self._open_to_read()
            else:
                self._open()
        except BaseException as error:
            self.database.close()
            if isinstance(error, UnicodeDecodeError):  # SQLite cites what is damaged
                raise sqlite3.DatabaseError('its tables are damaged') from error
            raise

    @property
    def uptime(self) -> float:
        """Return for how many seconds missions were kept here, as far as that was written."""
        if self._chain:
            with self._reading():
                return max([self._chain.ledger.clock,
                            *(head.used for head in self._chain.heads.values())])
        return self.database.execute('SELECT MAX(s) FROM (SELECT seconds AS s FROM clock UNION '
                                     'SELECT used AS s FROM missions)').fetchone()[0] or 0.0

    @property
    def memory(self) -> int:
        """Return the memory that it takes; 0 when it is on a disk."""
        if self._wal:
            return 0
        pages, size = (self.database.execute(f'PRAGMA {name}').fetchone()[0]
                       for name in ('page_count', 'page_size'))
        return int(pages * size)

    def maintain(self) -> None:
        """Move what was committed from the WAL into the file, when it is worth it."""
        if self._wal and self._measure() > MAX_WAL_BYTES:
            self._truncate()

    def copy_to(self, file: Path) -> None:
        """
        Copy all that is in it into a file that is not there yet.

        :raises OSError: when there is such a file, or it cannot be made; also sqlite3.Error. Then
            there is nothing left of it.
        """
        os.close(open_file(file, os.O_CREAT | os.O_EXCL | os.O_RDWR))
        try:
            with closing(connect(file)) as copy:
                self.database.backup(copy)
        except BaseException:
            file.unlink()
            raise

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def _open_to_read(self) -> None:
        """Get along with what is there: nothing may be changed."""
        formats = formats_of(self.cipher)
        known = check_schema(self.database, formats)
        if self.cipher.key_id and known == len(formats):
            self._chain = Chain(self.database, self._rows)
        elif self.cipher.key_id:
            self._rows = self.cipher  # from before logs were chained
        for script in formats[max(known, 1):]:  # what an older file lacks is empty here
            self.database.executescript(script.replace('CREATE TABLE', 'CREATE TEMP TABLE'))

    def _open(self) -> None:
        run = self.database.execute
        run('PRAGMA page_size=1024')        # a turn changes five pages; flash wears out
        run('PRAGMA journal_mode=WAL')
        run('PRAGMA synchronous=FULL')      # a commit is on the disk when it returns
        # An automatic checkpoint would make some commit wait for it; maintain() does it instead.
        run('PRAGMA wal_autocheckpoint=0')
        run('PRAGMA secure_delete=ON')      # what is deleted is gone; recover() relies on it
        formats = formats_of(self.cipher)
        known = check_schema(self.database, formats)
        name = run('PRAGMA application_id').fetchone()[0]
        with self._transaction():           # it may only be readable; tell now
            if known < len(formats) and name == (FILE_ID + known if known else 0):
                for table in ''.join(formats[known:]).split(';'):
                    run(table)
                run(f'PRAGMA user_version={len(formats)}')
                run(f'PRAGMA application_id={FILE_ID + len(formats)}')
                if self.cipher.key_id:
                    begin_chain(self.database, self.cipher)
            run('DELETE FROM clock WHERE 0')
        self._check()

    def _check(self) -> None:
        """Raise an error when something is damaged that reading a mission would not tell."""
        run = self.database.execute
        result = run('PRAGMA integrity_check(1)').fetchone()[0]
        if result != 'ok':
            raise sqlite3.DatabaseError(result)
        if schema_of(self.database) != schema_for(formats_of(self.cipher)):
            raise sqlite3.DatabaseError('its tables are not those of a log')
        if self.cipher.key_id:
            self._chain = Chain(self.database, self._rows)
            self._chain.load()
        known = set()
        for row in run('SELECT * FROM missions'):
            known.add(row[0])
            if sealed_at(self._rows, row) is None:
                raise sqlite3.DatabaseError(f'its record of mission {row[0]!r:.80} is damaged')
            _check_name(self._decrypt_name(row[0]))
        if known != {row[0] for row in run('SELECT DISTINCT mission_id FROM entries')}:
            raise sqlite3.DatabaseError('entries and missions do not agree')
        if type(self.uptime) is not float or not 0 <= self.uptime < MAX_UPTIME:
            raise sqlite3.DatabaseError('its clock is damaged')

    def _decrypt_name(self, name: str) -> str:
        """Return what was hidden in a row that opening the file found to be whole."""
        try:
            return self.cipher.decrypt_name(name)
        except Damaged as error:
            raise sqlite3.DatabaseError(str(error)) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """See one state of a file into which another process may be writing."""
        if not (self._read_only and self._chain):
            yield
            return
        self.database.execute('BEGIN')
        try:
            self._chain.load()
            yield
        finally:
            self.database.execute('ROLLBACK')

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing."""
        database = self.database
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
        """Move the WAL into the file, unless another process reads it."""
        busy = self.database.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0]
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
        raise sqlite3.DatabaseError('it has a mission with an invalid name') from error
