# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Begin the chain of a log with a key; what was written before there were any is sealed anew."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
import sqlite3
from typing import Any

from lfm_ros.missions.chain import Chain
from lfm_ros.missions.ledger import Head
from lfm_ros.missions.ledger import MOST_MISSIONS
from lfm_ros.missions.rows import COLUMNS
from lfm_ros.missions.rows import entry_row
from lfm_ros.missions.rows import INSERT
from lfm_ros.missions.rows import LONGEST_UPTIME
from lfm_ros.missions.rows import picture_row
from lfm_ros.missions.rows import seal_of
from lfm_ros.missions.rows import sealed_at
from lfm_ros.missions.rows import take
from lfm_ros.missions.rows import to_picture
from lfm_ros.missions.transcript import Transcript
from lfm_ros.missions.vault import Damaged
from lfm_ros.missions.vault import Vault


def begin_chain(database: sqlite3.Connection, vault: Vault) -> None:
    """
    Write the first list of a log, in the transaction that makes its tables.

    What is there is taken as it is, if it is whole: nothing can prove that it is the newest.

    :raises sqlite3.DatabaseError: when something is damaged.
    """
    run, chain = database.execute, Chain(database, vault.rows)
    heads = []
    for place, *row, seal in run('SELECT rowid, * FROM missions ORDER BY rowid').fetchall():
        try:
            if sealed_at(vault, (*row, seal)) is None or not 0 < place < MOST_MISSIONS:
                raise Damaged
            heads.append(_reseal(database, vault, chain, place, row))
        except Damaged as error:
            raise sqlite3.DatabaseError(f'mission {row[0]!r:.80} is damaged') from error
    for place, in run('SELECT rowid FROM pictures').fetchall():  # they are large: one by one
        try:
            _replace_picture(database, vault, run('SELECT * FROM pictures WHERE rowid = ?',
                                                  (place,)).fetchone())
        except Damaged as error:
            raise sqlite3.DatabaseError('an image is damaged') from error
    clock = run('SELECT MAX(seconds) FROM clock').fetchone()[0]
    if type(clock or 0.0) is not float or not 0 <= (clock or 0.0) < LONGEST_UPTIME:
        raise sqlite3.DatabaseError('its clock is damaged')
    chain.begin_with(heads, clock or 0.0)


def _reseal(database: sqlite3.Connection, vault: Vault, chain: Chain, place: int,
            row: Sequence[Any]) -> Head:
    """Seal a mission anew, and return what is known of it then."""
    run, name = database.execute, row[0]
    pictures = defaultdict(list)
    for number, *picture in run('SELECT number, p.* FROM shown LEFT JOIN pictures AS p USING '
                                '(digest) WHERE mission_id = ? ORDER BY number, place', (name,)):
        pictures[number].append(to_picture(vault, picture))
    found = Transcript(vault.reveal(name))
    for entry in run(f'SELECT {COLUMNS} FROM entries WHERE mission_id = ? ORDER BY number',
                     (name,)).fetchall():
        take(vault, found, entry, pictures[entry[0]])
    if not found.entries or vault.hide(found.digest) != row[5]:
        raise Damaged
    rows = [entry_row(vault.rows, found.mission_id, number, *part)
            for number, part in enumerate(found.parts())]
    run('DELETE FROM entries WHERE mission_id = ?', (name,))
    database.executemany(INSERT, rows)
    run('UPDATE missions SET seal = ? WHERE rowid = ?', (seal_of(vault.rows, row, 1), place))
    return Head.of(row, place, *chain.prove(name, place, rows))


def _replace_picture(database: sqlite3.Connection, vault: Vault, row: Sequence[Any]) -> None:
    *_, main, thumbnail = picture_row(vault.rows, to_picture(vault, row))
    database.execute('UPDATE pictures SET main = ?, thumbnail = ? WHERE digest = ?',
                     (main, thumbnail, row[0]))
