# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the log, and what a row must be to be believed."""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
import sqlite3
from typing import Any

from lfm_ros.conversation.entry import Entry
from lfm_ros.conversation.entry import pack
from lfm_ros.conversation.entry import unpack
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher

IN_MEMORY = ':memory:'
MAX_UPTIME = 1e10  # seconds

# What each version of the format added; a file of an older one gets the rest when it is opened.
VERSIONS = ("""
CREATE TABLE missions (
    mission_id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,     -- of the model whose ids these are
    slid INTEGER NOT NULL,         -- entries that were there when keys were last moved
    tokens INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    digest TEXT NOT NULL,          -- of the last entry
    used REAL NOT NULL,            -- seconds for which missions were kept here until then
    seal TEXT NOT NULL             -- digest of this row
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    mission_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    sampling TEXT NOT NULL,
    time REAL NOT NULL,
    parent TEXT NOT NULL,
    digest TEXT NOT NULL,
    ids BLOB NOT NULL,             -- little-endian int32
    sizes BLOB NOT NULL,           -- of the calls that read them, likewise
    UNIQUE (mission_id, number)
);
CREATE TABLE clock (
    id INTEGER PRIMARY KEY,        -- always 0
    seconds REAL NOT NULL          -- for which missions were kept here
);
""", """
CREATE TABLE pictures (
    digest TEXT PRIMARY KEY,
    tokens INTEGER NOT NULL,       -- that stand for it
    tile_rows INTEGER NOT NULL,
    tile_columns INTEGER NOT NULL,
    main BLOB NOT NULL,            -- PNG
    thumbnail BLOB NOT NULL        -- PNG, empty: there is none
);
CREATE TABLE shown (
    mission_id TEXT NOT NULL,
    number INTEGER NOT NULL,       -- of the entry
    place INTEGER NOT NULL,        -- among its pictures
    digest TEXT NOT NULL,
    UNIQUE (mission_id, number, place)
);
""")
VERSION = len(VERSIONS)
# What a log with a key has besides: proof that nothing in it is older than the rest.
CHAIN = """
CREATE TABLE proofs (
    place INTEGER PRIMARY KEY,     -- of an entry: 2^32 times its mission's row, and its number
    digest BLOB NOT NULL           -- of its row
);
CREATE TABLE ledger (
    place INTEGER PRIMARY KEY,     -- 0: a list of all missions, then what changed in it
    counter INTEGER NOT NULL,      -- of all changes, lower than the one before: an old row
    record BLOB NOT NULL           -- sealed with what came before it
);
"""
# Both numbers tell the version: one that is damaged does not make a file one of the future.
FILE_ID = 0x6c666d00
FIELDS = ('kind', 'tokens', 'calls', 'prompt', 'text', 'finish_reason', 'sampling', 'time',
          'parent', 'digest')
_ATTRIBUTES = {'calls': 'chunk_count'}  # of an entry, where a column has an older name
_NAMES = (*FIELDS, 'ids', 'sizes')
_TYPES = (str, int, int, str, str, str, str, float, str, str, bytes, bytes)
# Of a row of an entry: what anybody may read, and what is looked up. All the rest is sealed.
_READABLE = ('kind', 'tokens', 'calls', 'finish_reason', 'time', 'sizes')
_LOOKED_UP = ('parent', 'digest')
INSERT = (f'INSERT INTO entries (mission_id, number, {", ".join(_NAMES)}) '
          f'VALUES ({", ".join("?" * (len(_NAMES) + 2))})')
UPSERT = """
INSERT INTO missions (mission_id, fingerprint, slid, tokens, turns, digest, used, seal, rowid)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (mission_id) DO UPDATE SET
    fingerprint = excluded.fingerprint, slid = excluded.slid, tokens = excluded.tokens,
    turns = excluded.turns, digest = excluded.digest, used = excluded.used, seal = excluded.seal
"""
FORGET_IMAGES = 'DELETE FROM pictures WHERE digest NOT IN (SELECT digest FROM shown)'
_MAX_TEXT_LENGTH = 1000  # characters; a hidden name takes four for one of up to 128
COLUMNS = f'number, {", ".join(_NAMES)}'


def entry_row(cipher: StorageCipher, mission_id: str, number: int, entry: Entry,
              ids: Sequence[int], sizes: Sequence[int]) -> tuple[Any, ...]:
    """Return the row of an entry for :data:`INSERT`."""
    place = _place(mission_id, number, float(entry.time))
    entry = replace(entry, time=float(entry.time))  # as SQLite gives it back
    values: list[Any] = [*(getattr(entry, _ATTRIBUTES.get(name, name)) for name in FIELDS),
                         pack(ids), pack(sizes)]
    return (cipher.encrypt_name(mission_id), number, *(
        value if name in _READABLE else cipher.encrypt_name(value) if name in _LOOKED_UP else
        cipher.seal(value, f'{place} {name}') for name, value in zip(_NAMES, values)))


def take(cipher: StorageCipher, found: Transcript, row: Sequence[Any],
         images: Sequence[PreparedImage] = ()) -> None:
    """
    Append a row with :data:`COLUMNS` to a transcript.

    :param images: that were shown with it.
    :raises Damaged: when it is not what was written, or does not come next.
    """
    number, *values = row
    place = _place(found.mission_id, number, values[FIELDS.index('time')])
    opened: list[Any] = [
        value if name in _READABLE else cipher.decrypt_name(value) if name in _LOOKED_UP else
        cipher.open(value, f'{place} {name}', kind)
        for name, value, kind in zip(_NAMES, values, _TYPES)]
    *fields, ids, sizes = opened
    if number != len(found.entries) or tuple(map(type, opened)) != _TYPES or \
            len(ids) % 4 or len(sizes) % 4:
        raise Damaged
    entry = replace(Entry(*fields), images=tuple(images))
    if not entry.follows(found.entries, unpack(ids), unpack(sizes)):
        raise Damaged
    found.entries.append(entry)
    found.push(unpack(ids), unpack(sizes))


def is_sealed_by(cipher: StorageCipher, row: Sequence[Any]) -> bool:
    """Return whether this cipher opens the row of an entry, the name of its mission included."""
    try:
        name, number, *values = row
        place = _place(cipher.decrypt_name(name), number, values[FIELDS.index('time')])
        cipher.open(values[FIELDS.index('prompt')], f'{place} prompt', str)
    except Damaged:
        return False
    return True


def image_row(cipher: StorageCipher, prepared: PreparedImage) -> tuple[Any, ...]:
    """Return the row of an image."""
    return (cipher.encrypt_name(prepared.digest), prepared.tokens, prepared.rows, prepared.columns,
            cipher.seal(prepared.main, f'{prepared.digest} main'),
            cipher.seal(prepared.thumbnail, f'{prepared.digest} thumbnail'))


def to_image(cipher: StorageCipher, row: Sequence[Any]) -> PreparedImage:
    """
    Return the image of a row.

    :raises Damaged: when it is not what was written.
    """
    digest, *sizes = cipher.decrypt_name(row[0]), *row[1:4]
    parts = [cipher.open(value, f'{digest} {name}', bytes)
             for name, value in zip(('main', 'thumbnail'), row[4:])]
    if tuple(map(type, (*sizes, *parts))) != (int, int, int, bytes, bytes) or min(sizes) < 1:
        raise Damaged
    prepared = PreparedImage(*sizes, *parts)
    if prepared.digest != digest:
        raise Damaged
    return prepared


def is_mission(row: Sequence[Any]) -> bool:
    """
    Return whether a row of the table of missions can be one; the seal tells if it was written.

    Without a key anybody can make a seal, and the numbers go into messages of 32 bits.
    """
    name, model, slid, tokens, turns, digest, used = row
    texts = name, model, digest
    return all(type(text) is str and len(text) <= _MAX_TEXT_LENGTH for text in texts) and \
        all(type(n) is int and 0 <= n < 1 << 31 for n in (slid, tokens, turns)) and \
        type(used) is float and 0 <= used < MAX_UPTIME


def decode(data: bytes) -> str:
    """Decode text that may be damaged."""
    return data.decode(errors='replace')


def seal_of(cipher: StorageCipher, row: Sequence[Any], counter: int = 0) -> str:
    """
    Return the seal of a row of the table of missions: a digest of the other columns.

    :param counter: of the change with which it is written; 0: there is no ledger.
    """
    told = f'{counter} ' if counter else ''
    return told + cipher.digest(f'{told}{tuple(row)!r}'.encode(errors='replace'))


def sealed_at(cipher: StorageCipher, row: Sequence[Any]) -> int | None:
    """
    Return the counter in the seal of a row of the table of missions.

    :returns: None: it is damaged, or cannot be one.
    """
    *columns, seal = row
    if not is_mission(columns) or type(seal) is not str:
        return None
    counter = seal.partition(' ')[0]
    at = int(counter) if counter.isdecimal() and len(counter) < 20 else 0
    return at if seal == seal_of(cipher, columns, at) else None


def formats_of(cipher: StorageCipher) -> tuple[str, ...]:
    """Return what each version of the format added to a log, with a key or without."""
    return (*VERSIONS, CHAIN) if cipher.key_id else VERSIONS


@cache
def schema_for(formats: tuple[str, ...]) -> list[Any]:
    """Return what a log says of its tables to which these versions of the format were added."""
    with closing(sqlite3.connect(IN_MEMORY)) as example:
        example.executescript(''.join(formats))
        return schema_of(example)


def schema_of(database: sqlite3.Connection) -> list[Any]:
    """Return what a database says of its tables."""
    return database.execute('SELECT type, name, tbl_name, sql FROM sqlite_master '
                            'ORDER BY name').fetchall()


def _place(mission_id: str, number: Any, time: Any) -> str:
    """Return where an entry belongs; its other readable columns are in its digest."""
    return repr((mission_id, number, time))
