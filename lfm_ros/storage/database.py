# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Open a SQLite file that others may have made.

A schema can hold code: triggers, views, expressions in indices and columns. None of it may run,
so all that a file says of itself is compared with what a log has before a table is touched.
"""
from __future__ import annotations

from contextlib import suppress
import logging
import os
from pathlib import Path
import sqlite3

from lfm_ros.files import check_regular
from lfm_ros.files import open_file
from lfm_ros.storage.log_schema import FILE_ID
from lfm_ros.storage.log_schema import IN_MEMORY
from lfm_ros.storage.log_schema import schema_for
from lfm_ros.storage.log_schema import schema_of
from lfm_ros.storage.sqlite_pages import check_file

MAX_VALUE_BYTES = 64 << 20  # bytes of one text or blob; an image may have 16 MB

_PRAGMAS = (
    'trusted_schema=OFF',   # functions and virtual tables in a schema are not harmless
    'cell_size_check=ON',   # a damaged page is found before it is used
    'mmap_size=0',          # a file that becomes shorter is an error and no signal
)
_log = logging.getLogger(__name__)


class NewerVersion(sqlite3.Error):
    """A file was written by a version of lfm_ros that does not exist yet."""


def connect(file: Path | str, read_only: bool = False) -> sqlite3.Connection:
    """
    Open a database, in memory or on a disk, where it is made if need be.

    :param read_only: change nothing; another process may be writing.
    :raises sqlite3.OperationalError: when it cannot be opened, or there is something else under
        one of its names.
    :raises sqlite3.DatabaseError: when it is damaged.
    """
    if file != IN_MEMORY:
        try:
            _prepare(Path(file), read_only)
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror) from error
        if not read_only:
            check_file(Path(file))
    # No isolation level: transactions begin and end where the code says so.
    if read_only:
        database = sqlite3.connect(f'{Path(file).absolute().as_uri()}?mode=ro', uri=True,
                                   isolation_level=None)
    else:
        database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    _restrict(database)
    return database


def check_schema(database: sqlite3.Connection, formats: tuple[str, ...]) -> int:
    """
    Refuse a file with anything in it that a log does not have; nothing of it has run yet.

    :param formats: what each version of the format added, see :func:`rows.formats_of`.
    :returns: the version of the format of its tables; 0: there is nothing in it.
    :raises NewerVersion: when only this version of lfm_ros cannot use it.
    :raises sqlite3.DatabaseError: when it is no log.
    """
    version, name = (database.execute(f'PRAGMA {each}').fetchone()[0]
                     for each in ('user_version', 'application_id'))
    if version > len(formats) and name == FILE_ID + version:
        raise NewerVersion(f'a newer version of lfm_ros wrote it, in format {version}')
    found = schema_of(database)
    known = [schema_for(formats[:count]) for count in range(len(formats) + 1)]
    if found not in known or not found and (version or name):
        raise sqlite3.DatabaseError('its tables are not those of a log')
    return known.index(found)


def _prepare(file: Path, read_only: bool) -> None:
    """See that SQLite finds nothing under the names of a database but its own files."""
    journal = Path(f'{file}-journal')
    if not read_only and os.path.lexists(journal) and not journal.is_dir():
        # A log has none, but for the moment in which it is made. SQLite would take what is in it
        # for pages of the log, and delete a file that it names.
        journal.unlink()
        _log.warning(f'{journal} was removed: it is not that of a log')
    for ending in ('', '-wal', '-shm', '-journal'):
        check_regular(f'{file}{ending}', writes=True)
    if not read_only:  # SQLite would let everybody read it, and try long where it cannot write
        os.close(open_file(file, os.O_CREAT | os.O_RDWR))


def _restrict(database: sqlite3.Connection) -> None:
    for pragma in _PRAGMAS:
        database.execute(f'PRAGMA {pragma}')
    if hasattr(database, 'setlimit'):  # Python 3.11
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    if hasattr(database, 'setconfig'):  # Python 3.12
        for name, value in (('DEFENSIVE', True), ('ENABLE_TRIGGER', False),
                            ('ENABLE_VIEW', False)):
            with suppress(AttributeError):
                database.setconfig(getattr(sqlite3, f'SQLITE_DBCONFIG_{name}'), value)
