# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""With a key nothing can change its place on the disk unnoticed, nor be made there."""
from contextlib import closing
import hashlib
import sqlite3

from cipher_support import SEALED
from cipher_support import using
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.storage.layout import LOG_FILE
from lfm_ros.storage.log_schema import FIELDS
from log_support import filled
from log_support import is_beginning
from log_support import NAME
from log_support import Opened
from log_support import same
from log_support import say
from log_support import transcript
import pytest
from storage_support import close
from storage_support import files_in
from storage_support import open_store
from storage_support import place  # noqa: F401
from storage_support import told
import vision_support

COLUMNS = ', '.join((*FIELDS, 'ids', 'sizes'))


def swap(folder, columns, table, first, second):
    """Let two rows of a log have each other's values."""
    with closing(sqlite3.connect(folder / NAME, isolation_level=None)) as database:
        rows = [database.execute(f'SELECT {columns} FROM {table} WHERE {where}').fetchone()
                for where in (first, second)]
        names = ', '.join(f'{name} = ?' for name in columns.split(', '))
        for row, where in zip(rows, (second, first)):
            assert database.execute(f'UPDATE {table} SET {names} WHERE {where}', row).rowcount


def entry_of(mission_id, number):
    return f"mission_id = '{SEALED.encrypt_name(mission_id)}' AND number = {number}"


@pytest.mark.parametrize('columns', [COLUMNS, 'prompt', 'text', 'sampling', 'ids', 'time',
                                     'digest'])
@pytest.mark.parametrize(('other', 'number'), [('m', 4), ('other', 3), ('other', 4)])
def test_entries_that_changed_places_are_found(tmp_path, columns, other, number):
    if columns == 'time' and number == 3:
        pytest.skip('the times are the same')
    with using(SEALED):
        made = filled(tmp_path / 'log', m=6, other=6)
        swap(tmp_path / 'log', columns, 'entries', entry_of('m', 3), entry_of(other, number))
        with Opened(tmp_path / 'log') as opened:
            found = opened.prefill_all()
            assert len(found['m'].entries) == 3 and is_beginning(found['m'], made['m'])
            assert is_beginning(found['other'], made['other']) and opened.notes


def test_the_end_of_a_fork_is_not_taken_for_that_of_another(tmp_path):
    with using(SEALED), Opened(tmp_path) as opened:
        first = transcript('m', 6)
        fork = Transcript('fork', first.fingerprint, list(first.ids), [],
                          list(first.pending_sizes), list(first.entries))
        fork.cut(4)
        for number in (4, 5):
            say(fork, number)
        for each in (first, fork):
            opened.log.write(each, 1.0)
    for number in (4, 5):  # what follows fits what comes before it, in both
        swap(tmp_path, COLUMNS, 'entries', entry_of('m', number), entry_of('fork', number))
    with using(SEALED), Opened(tmp_path) as opened:
        for each in (first, fork):
            found = opened.log.read(each.mission_id)
            assert len(found.entries) == 4 and is_beginning(found, each)
        assert len(opened.notes) == 2


def test_missions_that_changed_their_names_are_found(tmp_path):
    with using(SEALED):
        made = filled(tmp_path / 'log', m=6, other=6)
        names = {'m': SEALED.encrypt_name('m'), 'other': SEALED.encrypt_name('other'), 'x': 'x'}
        with closing(sqlite3.connect(tmp_path / 'log' / NAME, isolation_level=None)) as database:
            for table in ('missions', 'entries'):
                for old, new in (('m', 'x'), ('other', 'm'), ('x', 'other')):
                    database.execute(f'UPDATE {table} SET mission_id = ? WHERE mission_id = ?',
                                     (names[new], names[old]))
        with Opened(tmp_path / 'log') as opened:
            assert all(is_beginning(found, made[name])
                       for name, found in opened.prefill_all().items())
            assert 'damaged' in opened.notes[0]


def test_a_row_of_a_mission_cannot_be_made_without_the_key(tmp_path):
    with using(SEALED):
        made = filled(tmp_path / 'log', m=6)
        with closing(sqlite3.connect(tmp_path / 'log' / NAME, isolation_level=None)) as database:
            *row, _ = database.execute('SELECT * FROM missions').fetchone()
            row[2] = 3  # it was slid, they say
            seal = hashlib.sha256(repr(tuple(row)).encode()).hexdigest()
            database.execute('UPDATE missions SET slid = 3, seal = ?', (seal,))
        with Opened(tmp_path / 'log') as opened:
            assert 'damaged' in opened.notes[0]
            assert opened.log.read('m').slid == 0 and same(opened.log.read('m'), made['m'])


def test_images_and_states_that_changed_places_are_found(place):  # noqa: F811
    model = vision_support.open_model()
    with using(SEALED):
        store = open_store(place, model, checkpoint_turns=1)
        for number, name in enumerate(('m', 'other')):
            mission = store.get_or_create(name)
            vision_support.answer(mission, 'What?', vision_support.image(seed=number))
            store.commit(name)
            store.save(name)
        digest = store.get('m').entries[1].images[0].digest
        expected = {name: told(store, name) for name in ('m', 'other')}
        close(store)
        head, first, second = sorted(files_in(place), key=lambda file: '.0.' not in file.name)
        data = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(data)
        store = open_store(place, model)
        for name in expected:
            assert told(store, name) == expected[name] and store.get(name).pending_sizes
            assert 'cannot be used' in store.storage.notice
        close(store)
        with closing(sqlite3.connect(place / SEALED.named(LOG_FILE),
                                     isolation_level=None)) as database:
            rows = dict(database.execute('SELECT digest, main FROM pictures'))
            for hidden, other in zip(rows, reversed(rows)):
                database.execute('UPDATE pictures SET main = ? WHERE digest = ?',
                                 (rows[other], hidden))
            assert SEALED.encrypt_name(digest) in rows
        store = open_store(place, model)
        assert len(store.storage.read('m').entries) < len(expected['m'])
        assert 'damaged' in store.storage.notice
        store.storage.close()
