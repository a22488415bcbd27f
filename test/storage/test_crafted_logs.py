# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Logs that somebody else has written: what their schema, pages and rows may not do."""
from contextlib import closing
import os
import sqlite3

from lfm_ros.cli.main import main
from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.entry import RESULTS
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.storage import database
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.log_schema import schema_for
from lfm_ros.storage.log_schema import schema_of
from lfm_ros.storage.log_schema import seal_of
from lfm_ros.storage.log_schema import VERSIONS
from lfm_ros.storage.sqlite_pages import PAGE
from log_support import filled
from log_support import NAME
from log_support import Opened
from log_support import same
from planted_support import soon
import pytest
from storage_support import close
from storage_support import open_store
from storage_support import tell
from support import assert_one_line
from support import open_model

BOMB = 'hex(zeroblob(3000000))'  # 6 MB of text, as often as it is computed; it may be more
SCHEMAS = {
    'a trigger': 'CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM missions; END',
    'a trigger on what is written at the end':
        'CREATE TRIGGER t BEFORE INSERT ON clock BEGIN SELECT RAISE(ABORT, "no"); END',
    'a view': 'CREATE VIEW v AS SELECT * FROM entries',
    'a virtual table': 'CREATE VIRTUAL TABLE v USING fts5(text)',
    'an expression in an index': f'CREATE INDEX i ON entries (length({BOMB}))',
    'an index of some rows': f'CREATE INDEX i ON entries (id) WHERE length({BOMB})',
    'an index more': 'CREATE INDEX i ON entries (text)',
    'a table more': 'CREATE TABLE other (id)',
    'a column that is computed':
        f'ALTER TABLE entries ADD COLUMN extra AS (length({BOMB})) VIRTUAL',
    'a column with a default': "ALTER TABLE missions ADD COLUMN extra DEFAULT 'x'",
    'a condition': f'ALTER TABLE entries ADD COLUMN extra CHECK (length({BOMB}))',
}
# In the place of a table; the second one never ends.
VIEWS = ("SELECT 'a' AS mission_id, 'f' AS fingerprint, 0 AS slid, 1 AS tokens, 1 AS turns, '' AS "
         "digest, 0.5 AS used, '' AS seal",
         'WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) '
         'SELECT n AS mission_id, n AS fingerprint, n AS slid, n AS tokens, n AS turns, n AS '
         'digest, n AS used, n AS seal FROM r')


@pytest.fixture
def place(tmp_path):
    """Return the folder of a log, and what is in it."""
    return tmp_path / 'place', filled(tmp_path / 'place', a=7, b=4)


def change(folder, *statements):
    """Change a log as somebody else does."""
    with closing(sqlite3.connect(folder / NAME)) as opened:
        for statement in statements:
            opened.execute(statement)
        opened.commit()
        opened.execute('PRAGMA wal_checkpoint(TRUNCATE)')


def forge(folder, row):
    """Replace the row of a mission, with a seal as anybody can make it."""
    with closing(sqlite3.connect(folder / NAME)) as opened:
        old = list(opened.execute('SELECT * FROM missions WHERE mission_id = "a"').fetchone())
        columns = ['mission_id', 'fingerprint', 'slid', 'tokens', 'turns', 'digest', 'used']
        new = [row.get(name, value) for name, value in zip(columns, old)]
        opened.execute('DELETE FROM missions WHERE mission_id = "a"')
        opened.execute('INSERT INTO missions VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
                       (*new, seal_of(StorageCipher(), new)))
        opened.execute('UPDATE entries SET mission_id = ? WHERE mission_id = "a"', (new[0],))
        opened.commit()


def assert_mended(folder, made, names=('a', 'b')):
    """Check that a log is opened without what is foreign, with all missions, and can be used."""
    with soon(lambda: Opened(folder)) as opened:
        assert_one_line(opened.notes[0], 'was damaged')
        assert not opened.log.durability_error
        found = opened.prefill_all()
        assert sorted(found) == sorted(names)
        assert all(same(found[name], made[name]) for name in names)
        assert schema_of(opened.log.log.database) == schema_for(VERSIONS)
        other = made['b']
        other.mission_id, other.logged = 'new', 0
        opened.log.write(other, 1.0)
        assert not opened.log.durability_error and 'new' in opened.prefill_all()
    assert any(name.startswith(f'{NAME}.damaged') for name in os.listdir(folder))


@pytest.mark.parametrize('what', SCHEMAS)
def test_a_log_with_something_foreign_in_its_schema_is_mended_before_it_is_used(place, what):
    folder, made = place
    change(folder, SCHEMAS[what])
    assert_mended(folder, made)


@pytest.mark.parametrize('what', SCHEMAS)
def test_nothing_of_a_foreign_schema_has_run_when_it_is_found(place, monkeypatch, what):
    folder, _ = place
    change(folder, SCHEMAS[what])
    real, ran = database._restrict, []

    def watched(opened):
        real(opened)
        opened.set_trace_callback(ran.append)

    monkeypatch.setattr(database, '_restrict', watched)
    for read_only in (True, False):
        with pytest.raises(sqlite3.DatabaseError, match='not those of a log'):
            MissionLog(folder / NAME, read_only)
    touched = [text for text in ran if 'PRAGMA' not in text and 'sqlite_master' not in text]
    assert not touched and any('sqlite_master' in text for text in ran)
    assert not any('integrity' in text for text in ran), 'it computes expressions'


@pytest.mark.parametrize('view', VIEWS)
def test_a_view_in_the_place_of_a_table_is_not_asked(place, view, capsys):
    folder, _ = place
    change(folder, 'ALTER TABLE missions RENAME TO kept', f'CREATE VIEW missions AS {view}')
    for verb in (['list'], ['show', 'a'], ['export', 'a', str(folder / 'x')]):
        line = ['missions', '--missions-dir', str(folder), *verb]
        assert soon(lambda line=line: main(line)) == 1
        assert_one_line(capsys.readouterr().err.strip(), 'not those of a log')


def test_a_file_may_not_set_what_a_log_does_not_set(place):
    folder, made = place
    with open(folder / NAME, 'r+b') as file:
        file.seek(48)  # pages in memory
        file.write((1 << 31 - 1).to_bytes(4, 'big'))
    assert_mended(folder, made)


def test_schemas_are_not_trusted_and_values_are_bounded(place):
    folder, _ = place
    with closing(MissionLog(folder / NAME)) as log:
        run = log.database.execute
        assert run('PRAGMA trusted_schema').fetchone() == (0,)
        assert run('PRAGMA cell_size_check').fetchone() == (1,)
        if hasattr(log.database, 'getlimit'):
            with pytest.raises(sqlite3.Error):
                run('SELECT length(zeroblob(?))', (database.MAX_VALUE_BYTES + 1,)).fetchone()


@pytest.mark.parametrize('size', [1 << 31, 1 << 40])
def test_a_file_of_holes_is_mended_at_once(place, size):
    folder, made = place
    change(folder, SCHEMAS['a trigger'])
    with open(folder / NAME, 'r+b') as file:
        file.truncate(size)
    assert_mended(folder, made)


def test_a_count_of_pages_that_cannot_be_is_mended(place):
    folder, made = place
    with open(folder / NAME, 'r+b') as file:
        file.seek(28)
        file.write((1 << 31).to_bytes(4, 'big'))
        file.seek(92)
        file.write((1).to_bytes(4, 'big'))
        file.seek(24)
        file.write((1).to_bytes(4, 'big'))
    with soon(lambda: Opened(folder)) as opened:
        assert all(same(found, made[name]) for name, found in opened.prefill_all().items())
        assert sorted(opened.prefill_all()) == ['a', 'b'] and not opened.log.durability_error


def test_a_row_that_goes_in_circles_ends(place):
    folder, made = place
    change(folder, SCHEMAS['a trigger'])
    with open(folder / NAME, 'r+b') as file:
        count = file.seek(0, os.SEEK_END) // PAGE
        page = bytearray(PAGE)
        cell = b'\xff' * 8 + b'\x7f' + b'\x01'  # of 2^63 bytes and more
        small = b'\x83\xff\xff\x7f' + b'\x01'   # of 8 MB
        for number, row in enumerate([cell, *[small] * 80]):
            page[8 + 2 * number:10 + 2 * number] = (800).to_bytes(2, 'big')
            page[800:800 + len(row)] = row
        page[0], page[3:5] = 13, (0xffff).to_bytes(2, 'big')
        for at in range(805, PAGE - 3):  # wherever the rest is looked for
            page[at:at + 4] = (count + 2).to_bytes(4, 'big')
        file.write(page)
        file.write((count + 2).to_bytes(4, 'big').ljust(PAGE, b'x'))
    assert_mended(folder, made)


@pytest.mark.parametrize('row', [
    {'tokens': 1 << 40}, {'tokens': -1}, {'turns': 1 << 32}, {'turns': -5}, {'slid': -3},
    {'slid': 1 << 40}, {'used': -1.0}, {'used': 1e300}, {'used': float('inf')},
    {'tokens': 'many'}, {'fingerprint': 'f' * 100_000}, {'digest': b'bytes'}],
                         ids=lambda row: str(row)[:40])
def test_numbers_of_a_mission_that_cannot_be_are_found_anew(place, row, capsys):
    folder, made = place
    forge(folder, row)
    assert soon(lambda: main(['missions', '--missions-dir', str(folder), 'list'])) == 1
    assert_one_line(capsys.readouterr().err.strip(), 'damaged')
    with soon(lambda: Opened(folder)) as opened:
        found = {summary.mission_id: summary for summary in opened.log.log.list()}
        assert sorted(found) == ['a', 'b'] and found['a'].tokens == len(made['a'].ids)
        assert found['a'].turns == made['a'].turn_count
        assert [e.digest for e in opened.log.read('a').entries] == \
            [e.digest for e in made['a'].entries]


@pytest.mark.parametrize('name', ['', '../x', '\x1b[2J', 'a\nb', 'x' * 10_000, ' ', '.'])
def test_a_mission_of_a_name_that_cannot_be_one_does_not_come_back(place, name):
    folder, made = place
    forge(folder, {'mission_id': name})
    assert_mended(folder, made, ['b'])


def write(folder, model, *entries, images=()):
    """Write a mission as somebody who knows the format does; no model has said that."""
    told = Transcript('m', model.folder.fingerprint if model else 'f' * 64)
    for number, (kind, ids, prompt) in enumerate(entries):
        told.push(ids, [len(ids)])
        told.add(kind, prompt, '', 'stop', images=images if number else ())
    folder.mkdir(exist_ok=True)
    with closing(MissionLog(folder / NAME)) as log:
        log.write(told)


@pytest.mark.parametrize('number', [-1, 1 << 20, (1 << 31) - 1])
def test_a_mission_of_tokens_that_the_model_lacks_is_told_again_from_its_text(tmp_path, number):
    model = open_model('lfm2-int4')
    write(tmp_path / 'place', model, (HEAD, [1, 2], ''), ('turn', [3, number, 4], 'Where?'))
    store = open_store(tmp_path / 'place', model)
    assert tell(store, 'm', 'Go on.')
    assert [turn.prompt for turn in store.get('m').turns] == ['Where?', 'Go on.']
    close(store)


@pytest.mark.parametrize('prompt', ['', 'no JSON', '[]', '{"tool_results": [{"x": 1}]}',
                                    '[' * 100_000])
def test_results_of_functions_that_are_none_are_left_out_when_they_are_told_again(
        tmp_path, prompt):
    model = open_model('lfm2-int4')
    write(tmp_path / 'place', None, (HEAD, [1, 2], ''), ('turn', [3], 'Where?'),
          (RESULTS, [3], prompt))
    store = open_store(tmp_path / 'place', model)
    assert tell(store, 'm', 'Go on.')
    assert [turn.prompt for turn in store.get('m').turns] == ['Where?', 'Go on.']
    close(store)


@pytest.mark.parametrize('sizes', [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_a_picture_of_no_size_is_damaged(tmp_path, sizes):
    write(tmp_path / 'place', None, (HEAD, [1, 2], ''), ('turn', [3], 'What?'),
          images=(PreparedImage(*sizes, b'png'),))
    with closing(MissionLog(tmp_path / 'place' / NAME)) as log:
        assert len(log.read('m').entries) < 2
