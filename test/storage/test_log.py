# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What was written into the log comes back; what was damaged there is found."""
from contextlib import closing
import sqlite3

from cipher_support import cipher  # noqa: F401
from cipher_support import SEALED
from cipher_support import using
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.log_schema import IN_MEMORY
from lfm_ros.storage.log_schema import VERSION
from log_support import filled
from log_support import is_beginning
from log_support import NAME
from log_support import Opened
from log_support import same
from log_support import say
from log_support import transcript
import pytest
from support import assert_one_line

ENTRY_FIELDS = {
    'kind': ['head', 'turm', b'turn', 7],
    'tokens': [0, -1, 1 << 40, 'many'],
    'calls': [0, -1, 1 << 40, b'\1'],
    'prompt': ['', 'Whöre? 😃 3', b'\xff\xfe', 5],
    'text': ['', 'Thare.', b'\xff'],
    'finish_reason': ['', 'length', 1.5],
    'parent': ['', '0' * 64, b'\0' * 64],
    'digest': ['', '0' * 64, 3],
    'ids': [b'', b'\0', b'\0' * 8, 'text', 12],
    'sizes': [b'', b'\0', b'\0\0\0\0', b'\xff' * 4, 'text', 1],
    'number': [17, -1, 1 << 62],
    'time': ['never', b''],
    'sampling': [b'']}
MISSION_FIELDS = {
    'mission_id': ['n', 'm\0', '', b'm', b'\xff\xfe'],
    'fingerprint': ['', 'e' * 64, 9, b'\xff'],
    'slid': [1, 5, -3, 1 << 50, 'x'],
    'tokens': [0, 'x'],
    'turns': [0, 1 << 60],
    'digest': ['', '0' * 64],
    'used': [-1e300, 1e300, float('inf'), 'x', b''],
    'seal': ['', 0]}


def change(folder, table, field, value, where='1'):
    """Change what is on the disk behind the back of the log."""
    with closing(sqlite3.connect(folder / NAME, isolation_level=None)) as database:
        database.execute(f'UPDATE {table} SET {field} = ? WHERE {where}', (value,))


def every(fields):
    return [pytest.param(name, value, id=f'{name}-{number}')
            for name, values in fields.items() for number, value in enumerate(values)]


@pytest.mark.parametrize('place', [IN_MEMORY, NAME])
def test_what_was_written_comes_back(tmp_path, place, cipher):  # noqa: F811
    file = place if place == IN_MEMORY else tmp_path / place
    with closing(MissionLog(file, cipher=cipher)) as log:
        told = [transcript(name, count) for name, count in (('b', 7), ('a', 1), ('ü 😀', 30))]
        for number, each in enumerate(told):
            log.write(each, number)
            assert each.logged == len(each.entries)
        for each in told:
            found = log.read(each.mission_id)
            assert same(found, each) and found.logged == len(each.entries)
            assert (found.chunk_sizes, found.pending) == ([], len(each.ids))
        assert [(s.mission_id, s.tokens, s.turns, s.digest, s.used) for s in log.list()] == \
            [(t.mission_id, len(t.ids), t.turn_count, t.digest, n) for n, t in enumerate(told)]
        assert log.digests('b') == [entry.digest for entry in told[0].entries]
        assert log.uptime == 2
        assert not log.read('c').entries and log.find('c') is None


def test_only_what_is_new_is_written(tmp_path, cipher):  # noqa: F811
    told = transcript(entries=40)
    with closing(MissionLog(tmp_path / NAME, cipher=cipher)) as log:
        log.write(told)
        whole = log.bytes_written
        say(told, 41)
        log.write(told)
        one = log.bytes_written - whole
        assert 0 < one < whole / 4
        assert same(log.read('m'), told)


@pytest.mark.parametrize('keep', [1, 2, 5])
def test_what_was_taken_back_is_gone_and_what_follows_is_kept(
        tmp_path, keep, cipher):  # noqa: F811
    told = transcript(entries=6)
    with closing(MissionLog(tmp_path / NAME, cipher=cipher)) as log:
        log.write(told)
        told.cut(keep)
        assert told.logged == keep
        log.write(told)
        assert same(log.read('m'), told)
        for number in (1, 2):
            say(told, number)
        log.write(told)
        assert same(log.read('m'), told)
    with closing(MissionLog(tmp_path / NAME, cipher=cipher)) as log:
        assert same(log.read('m'), told)


def test_a_mission_that_is_told_anew_replaces_the_one_before(tmp_path, cipher):  # noqa: F811
    with closing(MissionLog(tmp_path / NAME, cipher=cipher)) as log:
        for each in (transcript('a'), transcript('m', 9), transcript('z')):
            log.write(each)
        other = transcript('m', 4, seed=1)
        log.write(other)
        assert same(log.read('m'), other)
        assert [summary.mission_id for summary in log.list()] == ['a', 'm', 'z']


def test_a_deleted_mission_is_gone_and_so_are_its_words(tmp_path, cipher):  # noqa: F811
    with closing(MissionLog(tmp_path / NAME, cipher=cipher)) as log:
        for each in (transcript('a'), transcript('m', 40)):
            log.write(each)
        log.delete('m')
        log.delete('never there')
        assert [summary.mission_id for summary in log.list()] == ['a']
        assert not log.read('m').entries and not log.digests('m')
        log.delete('a')
    assert 'Wh' not in (tmp_path / NAME).read_bytes().decode(errors='replace')


def test_a_write_that_fails_changes_nothing_and_is_made_up_for(tmp_path, cipher):  # noqa: F811
    told = transcript(entries=3)
    with closing(MissionLog(tmp_path / NAME, cipher=cipher)) as log:
        log.write(told)
        before = log.read('m')
        for number in (3, 4):
            say(told, number)
        log.database.execute('PRAGMA max_page_count = 1')  # the disk is full
        with pytest.raises(sqlite3.OperationalError):
            for number in range(100, 200):
                say(told, number)
                log.write(told)
        logged = told.logged
        assert is_beginning(log.read('m'), told) and len(log.read('m').entries) == logged
        assert is_beginning(before, log.read('m'))
        log.database.execute('PRAGMA max_page_count = 100000')
        log.write(told)
        assert same(log.read('m'), told)


@pytest.mark.parametrize(('field', 'value'), every(ENTRY_FIELDS))
@pytest.mark.parametrize('number', [0, 3, 5])
def test_a_changed_field_of_an_entry_is_found(
        tmp_path, field, value, number, cipher):  # noqa: F811
    folder = tmp_path / 'log'
    told = filled(folder, m=6, other=4)
    if getattr(told['m'].entries[number], field, None) == value:
        value = 'other'
    change(folder, 'entries', field, value,
           f"mission_id = '{cipher.encrypt_name('m')}' AND number = {number}")
    with Opened(folder) as opened:
        found = opened.prefill_all()
        assert same(found['other'], told['other'])
        if 'm' in found:
            assert is_beginning(found['m'], told['m'])
            assert len(found['m'].entries) == number
            found['m'].logged = len(found['m'].entries)
        assert any("'m'" in note or 'damaged' in note for note in opened.notes)
        again = transcript('m')
        opened.log.write(again, 7.0)
        assert not opened.log.durability_error and same(opened.log.read('m'), again)


@pytest.mark.parametrize(('field', 'value'), every(MISSION_FIELDS))
def test_a_changed_field_of_a_mission_is_found_and_mended(
        tmp_path, field, value, cipher):  # noqa: F811
    folder = tmp_path / 'log'
    told = filled(folder, m=6, other=4)
    change(folder, 'missions', field, value, f"mission_id = '{cipher.encrypt_name('m')}'")
    with Opened(folder) as opened:
        found = opened.prefill_all()
        assert list(opened.notes) and 'damaged' in opened.notes[0]
        assert set(found) == {'m', 'other'}
        for name, each in found.items():
            assert each.entries == told[name].entries and each.ids == told[name].ids
        same_model = cipher.key_id or field not in ('fingerprint', 'mission_id')
        assert (found['m'].fingerprint == told['m'].fingerprint) == bool(same_model)
        assert 0 < opened.log.uptime < 100
        assert all(0 <= summary.used < 100 for summary in opened.log.log.list())
    with Opened(folder) as opened:
        assert not opened.notes


def test_the_keys_that_were_moved_are_not_forgotten_with_their_row(tmp_path, cipher):  # noqa: F811
    told = transcript('m', 8)
    told.drop_oldest(3, 2)
    told.slid = len(told.entries)
    with Opened(tmp_path) as opened:
        opened.log.write(told, 1.0)
    change(tmp_path, 'missions', 'slid', 0)
    with Opened(tmp_path) as opened:
        found = opened.log.read('m')
        assert (found.slid, found.entries) == (told.slid, told.entries)


def test_a_log_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    filled(tmp_path / 'log', m=6)
    with closing(sqlite3.connect(tmp_path / 'log' / NAME)) as database:
        name = database.execute('PRAGMA application_id').fetchone()[0]
        database.execute(f'PRAGMA user_version = {VERSION + 1}')
        database.execute(f'PRAGMA application_id = {name + 1}')
    before = (tmp_path / 'log' / NAME).read_bytes()
    with pytest.raises(LfmError) as caught:
        Opened(tmp_path / 'log')
    assert caught.value.code == ErrorCode.STORAGE_FAILED
    assert_one_line(caught.value.message, 'newer version', NAME, 'missions.dir')
    assert (tmp_path / 'log' / NAME).read_bytes() == before


def test_a_damaged_name_is_found_also_where_nothing_may_be_mended(tmp_path):
    with using(SEALED):
        filled(tmp_path / 'log', m=6)
    change(tmp_path / 'log', 'missions', 'mission_id', 'n')
    with closing(MissionLog(tmp_path / 'log' / NAME, read_only=True, cipher=SEALED)) as log, \
            pytest.raises(sqlite3.DatabaseError):
        log.list()


def test_only_the_owner_can_read_what_is_said(tmp_path, cipher):  # noqa: F811
    with Opened(tmp_path) as opened:
        opened.log.write(transcript(), 1.0)
        for file in tmp_path.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file


def test_the_time_goes_on_where_it_ended(tmp_path, cipher):  # noqa: F811
    with Opened(tmp_path) as opened:
        opened.log.write(transcript(), 5000.0)
        opened.log._before += 7000.0
    with Opened(tmp_path) as opened:
        assert 7000 <= opened.log.uptime < 7100
        opened.log.delete('m')
    with Opened(tmp_path) as opened:
        assert 7000 <= opened.log.uptime < 7100
