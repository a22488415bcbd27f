# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What somebody can do to a log who can write into its folder and does not have the key."""
from __future__ import annotations

from contextlib import closing
import shutil
import sqlite3

from cipher_support import SEALED
from log_support import NAME
from log_support import Opened

TABLES = ('missions', 'entries', 'pictures', 'shown', 'clock', 'proofs', 'ledger')


class Attack:
    """
    Two states of one log, and SQL over both.

    :param folder: of the log as it is; ``old``: a copy of it that was made earlier.
    """

    def __init__(self, folder, old, name=NAME):
        self._file = folder / name
        self._old = old / name

    def __enter__(self):
        self._database = sqlite3.connect(self._file, isolation_level=None)
        self._database.execute('ATTACH ? AS old', (str(self._old),))
        return self

    def __exit__(self, *_):
        self._database.close()

    def run(self, sql, *names):
        """Run a statement with the hidden names of missions; return how many rows changed."""
        names = names[:sql.count('?')]
        return self._database.execute(sql, [SEALED.encrypt_name(name) for name in names]).rowcount

    def run_query(self, sql):
        """Return the only value that a query gives."""
        return self._database.execute(sql).fetchone()[0]

    def restore(self, table, where, *names):
        """Put older rows of a table in the place of those that are there."""
        self.run(f'DELETE FROM main.{table} WHERE {where}', *names)
        return self.run(f'INSERT INTO main.{table} SELECT * FROM old.{table} WHERE {where}',
                        *names)

    def has(self, table):
        """Tell whether there is a table."""
        return bool(self._database.execute('SELECT 1 FROM main.sqlite_master WHERE name = ?',
                                           (table,)).fetchone())

    def restore_mission(self, name, but=()):
        """Put back all that there was of a mission."""
        place = self._database.execute('SELECT rowid FROM old.missions WHERE mission_id = ?',
                                       (SEALED.encrypt_name(name),)).fetchone()[0]
        for table in TABLES:
            if table in but or not self.has(table):
                continue
            if table == 'proofs':
                self.restore(table, f'place >> 32 = {place}')
            elif table in ('missions', 'entries', 'shown'):
                self.restore(table, 'mission_id = ?', name)
            elif table == 'pictures':
                self.run('INSERT OR IGNORE INTO main.pictures SELECT * FROM old.pictures')

    def remove_mission(self, name):
        """Take all away that there is of a mission, and of its proofs."""
        place = self._database.execute('SELECT rowid FROM main.missions WHERE mission_id = ?',
                                       (SEALED.encrypt_name(name),)).fetchone()[0]
        for table in ('missions', 'entries', 'shown'):
            self.run(f'DELETE FROM main.{table} WHERE mission_id = ?', name)
        if self.has('proofs'):
            self.run(f'DELETE FROM main.proofs WHERE place >> 32 = {place}')


def copy_of(folder, name):
    """Copy a folder beside itself."""
    return shutil.copytree(folder, folder.with_name(name))


def read(folder):
    """Open a log; return its missions and what was noted, while it was opened and read."""
    with Opened(folder) as opened:
        found = opened.prefill_all()
        return found, ' '.join(opened.notes)


def kept(folder):
    """Return the damaged logs that are kept for inspection."""
    return [file for file in folder.iterdir() if '.damaged-' in file.name
            and not file.name.endswith(('-wal', '-shm'))]


def entries_in(file, name):
    """Return how many rows of entries of a mission a file of a log has."""
    with closing(sqlite3.connect(file)) as database:
        return database.execute('SELECT COUNT(*) FROM entries WHERE mission_id = ?',
                                (SEALED.encrypt_name(name),)).fetchone()[0]
