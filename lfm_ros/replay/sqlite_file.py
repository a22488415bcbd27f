# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read a bag that rosbag2 wrote into SQLite, as far as it goes."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import suppress
from pathlib import Path
import sqlite3
from urllib.parse import quote

from lfm_ros.replay.damage import Damaged
from lfm_ros.replay.decoder import RawMessage


def read_sqlite(path: Path, wanted: Callable[[str, str], bool]) -> Iterator[RawMessage]:
    """
    Yield the messages of a file, in the order in which they were written.

    :param wanted: asked for every topic, with its type.
    :raises Damaged: where the file can be read no further.
    """
    try:
        with closing(_connect(path)) as database:
            known = {number: (name, kind, encoding) for number, name, kind, encoding in
                     database.execute('SELECT id, name, type, serialization_format FROM topics')}
            definitions = {}
            with suppress(sqlite3.OperationalError):  # there is no such table before ROS 2 Iron
                definitions = dict(database.execute(
                    'SELECT topic_type, encoded_message_definition FROM message_definitions '
                    "WHERE encoding = 'ros2msg'"))
            chosen = [n for n, (name, kind, _) in known.items() if wanted(name, kind)]
            # By number: it reads the table from its beginning, and needs no index.
            for number, time, data in database.execute(
                    'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN '
                    f'({",".join("?" * len(chosen))}) ORDER BY id', chosen):
                name, kind, encoding = known[number]
                yield RawMessage(name, kind, time, data, encoding, definitions.get(kind, ''))
    except sqlite3.Error as error:
        raise Damaged(str(error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file to read it; what a killed recorder left in the log beside it counts."""
    address = f'file:{quote(str(path.resolve()))}?mode=ro'
    if not path.with_name(f'{path.name}-wal').exists():
        address += '&immutable=1'
    database = sqlite3.connect(address, uri=True)
    # It then opens a file, too, that is shorter than its header says. Nothing is written.
    database.execute('PRAGMA writable_schema = ON')
    return database
