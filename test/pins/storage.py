# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is on the disk of a robot: the log, states, archives, plain and encrypted."""
from __future__ import annotations

import base64
from contextlib import closing
import json
import os
from pathlib import Path
import sqlite3
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from zipfile import ZipFile

from fixtures import story
from internals import ENTRY_KINDS
from internals import Missions
from internals import MODELS
from pins.shape import modes
from pins.shape import pattern
from pins.shape import shape

KEY = base64.b64encode(bytes(range(32)))
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"


def collect() -> dict[str, Any]:
    """Write missions as a node does, and look at the files."""
    found: dict[str, Any] = {'kinds of entries of the code': list(ENTRY_KINDS)}
    with TemporaryDirectory() as name, patch.dict(os.environ, XDG_CACHE_HOME=name):
        work = Path(name)
        key = work / 'key'
        key.touch(mode=0o600)
        key.write_bytes(KEY)
        for title, model, key_file, tell in (
                ('plain', MODELS / 'lfm2-past-conv', '', _tell),
                ('encrypted', MODELS / 'lfm2-past-conv', key, story.talk),
                ('with images', MODELS / 'vision' / 'lfm2-vl-past-conv', '', story.show)):
            folder, archive = work / title, work / f'{title}.lfm'
            with Missions(model, folder, key_file) as missions:
                tell(missions)
                missions.do('export', 'default', archive)
                files = modes(folder)
            found[title] = {'files while it is used': files, 'files': modes(folder),
                            'log': _log(next(folder.glob('*.db'))),
                            'archive': _archive(archive)}
            if not key_file:
                found[title]['states'] = _states(folder / 'states')
    return found


def _tell(missions: Missions) -> None:
    """Say something of every kind."""
    story.talk(missions)
    story.use_tools(missions)
    missions.observe('tools', 'It is dark.')
    missions.do('save', 'tools')


def _log(file: Path) -> dict[str, Any]:
    """Return tables, columns, indices and what SQLite writes about the file."""
    with closing(sqlite3.connect(file)) as database:
        run = database.execute
        tables = [row[0] for row in run(_TABLES)]
        found: dict[str, Any] = {'name': file.name, **{name: run(f'PRAGMA {name}').fetchone()[0]
                                 for name in ('user_version', 'application_id', 'page_size',
                                              'journal_mode', 'encoding')}}
        found['tables'] = {table: {
            'sql': run('SELECT sql FROM sqlite_master WHERE name = ?', (table,)
                       ).fetchone()[0].splitlines(),
            'columns': {name: ' '.join(map(str, rest)) for _, name, *rest in
                        run(f'PRAGMA table_info({table})')},
            'indices': sorted(', '.join(row[2] for row in run(f'PRAGMA index_info({name})'))
                              for _, name, *_ in run(f'PRAGMA index_list({table})').fetchall()),
            'kinds of values': _kinds(database, table)} for table in tables}
        found['kinds of entries'] = [row[0] for row in run(
            'SELECT DISTINCT kind FROM entries ORDER BY kind')]
        found['mission_id of default'] = run(
            'SELECT mission_id FROM missions ORDER BY rowid').fetchone()[0]
        if found['mission_id of default'] == 'default':
            found['texts in JSON'] = _texts(database)
    return found


def _kinds(database: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return, by column, the types of what is written there: a key turns text into bytes."""
    cursor = database.execute(f'SELECT * FROM {table}')
    names = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    return {name: ' or '.join(sorted({type(row[place]).__name__ for row in rows}))
            for place, name in enumerate(names)}


def _texts(database: sqlite3.Connection) -> dict[str, Any]:
    """Return the keys of what is JSON in columns of text."""
    found = {}
    for kind, column in (('turn', 'sampling'), ('results', 'prompt'), ('head', 'text')):
        texts = [row[0] for row in database.execute(
            f'SELECT {column} FROM entries WHERE kind = ?', (kind,)) if row[0]]
        if texts:
            found[f'{column} of {kind}'] = shape(json.loads(texts[0]))
    return found


def _states(folder: Path) -> dict[str, Any]:
    """Return the arrays and the metadata in a file of each kind."""
    found: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        header = json.loads(data[8:8 + int.from_bytes(data[:8], 'little')])
        metadata = header.pop('__metadata__')
        found[pattern(file.name)] = {
            'metadata': sorted(metadata), 'format': metadata['format'],
            'arrays': {name: f"{told['dtype']} of {len(told['shape'])} axes"
                       for name, told in sorted(header.items())}}
    return found


def _archive(file: Path) -> dict[str, Any]:
    """Return the members of an archive, and the keys of the JSON in it."""
    with ZipFile(file) as packed:
        infos = packed.infolist()
        found: dict[str, Any] = {
            'members': sorted({pattern(info.filename) for info in infos}),
            'compression': sorted({info.compress_type for info in infos}),
            'first': infos[0].filename}
        if infos[0].filename == 'mission.json':
            told = json.loads(packed.read('mission.json'))
            found['mission.json'] = shape(told, ('images',))
            found['format'], found['version'] = told['format'], told['version']
    return found
