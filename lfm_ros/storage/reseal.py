# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start the chain of an encrypted log that has none, and encrypt its rows again."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
import sqlite3
from typing import Any

from lfm_ros.conversation.transcript import Transcript
from lfm_ros.storage.chain import Chain
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.ledger import Head
from lfm_ros.storage.ledger import MAX_MISSIONS
from lfm_ros.storage.log_schema import COLUMNS
from lfm_ros.storage.log_schema import entry_row
from lfm_ros.storage.log_schema import image_row
from lfm_ros.storage.log_schema import INSERT
from lfm_ros.storage.log_schema import MAX_UPTIME
from lfm_ros.storage.log_schema import seal_of
from lfm_ros.storage.log_schema import sealed_at
from lfm_ros.storage.log_schema import take
from lfm_ros.storage.log_schema import to_image


def begin_chain(database: sqlite3.Connection, cipher: StorageCipher) -> None:
    """
    Write the first list of a log, in the transaction that makes its tables.

    What is there is taken as it is, if it is whole: nothing can prove that it is the newest.

    :raises sqlite3.DatabaseError: when something is damaged.
    """
    run, chain = database.execute, Chain(database, cipher.rows)
    heads = []
    for place, *row, seal in run('SELECT rowid, * FROM missions ORDER BY rowid').fetchall():
        try:
            if sealed_at(cipher, (*row, seal)) is None or not 0 < place < MAX_MISSIONS:
                raise Damaged
            heads.append(_reseal(database, cipher, chain, place, row))
        except Damaged as error:
            raise sqlite3.DatabaseError(f'mission {row[0]!r:.80} is damaged') from error
    for place, in run('SELECT rowid FROM pictures').fetchall():  # they are large: one by one
        try:
            _replace_image(database, cipher, run('SELECT * FROM pictures WHERE rowid = ?',
                                                 (place,)).fetchone())
        except Damaged as error:
            raise sqlite3.DatabaseError('an image is damaged') from error
    clock = run('SELECT MAX(seconds) FROM clock').fetchone()[0]
    if type(clock or 0.0) is not float or not 0 <= (clock or 0.0) < MAX_UPTIME:
        raise sqlite3.DatabaseError('its clock is damaged')
    chain.begin_with(heads, clock or 0.0)


def _reseal(database: sqlite3.Connection, cipher: StorageCipher, chain: Chain, place: int,
            row: Sequence[Any]) -> Head:
    """Seal a mission anew, and return what is known of it then."""
    run, name = database.execute, row[0]
    prepared_images = defaultdict(list)
    for number, *prepared in run('SELECT number, p.* FROM shown LEFT JOIN pictures AS p USING '
                                 '(digest) WHERE mission_id = ? ORDER BY number, place', (name,)):
        prepared_images[number].append(to_image(cipher, prepared))
    found = Transcript(cipher.decrypt_name(name))
    for entry in run(f'SELECT {COLUMNS} FROM entries WHERE mission_id = ? ORDER BY number',
                     (name,)).fetchall():
        take(cipher, found, entry, prepared_images[entry[0]])
    if not found.entries or cipher.encrypt_name(found.digest) != row[5]:
        raise Damaged
    rows = [entry_row(cipher.rows, found.mission_id, number, *part)
            for number, part in enumerate(found.parts())]
    run('DELETE FROM entries WHERE mission_id = ?', (name,))
    database.executemany(INSERT, rows)
    run('UPDATE missions SET seal = ? WHERE rowid = ?', (seal_of(cipher.rows, row, 1), place))
    return Head.of(row, place, *chain.prove(name, place, rows))


def _replace_image(database: sqlite3.Connection, cipher: StorageCipher, row: Sequence[Any]
                   ) -> None:
    *_, main, thumbnail = image_row(cipher.rows, to_image(cipher, row))
    database.execute('UPDATE pictures SET main = ?, thumbnail = ? WHERE digest = ?',
                     (main, thumbnail, row[0]))
