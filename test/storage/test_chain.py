# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""With a key nothing in a log is replaced by what it was earlier, or taken out, unnoticed."""
from contextlib import closing
import random
import sqlite3

from chain_support import Attack
from chain_support import copy_of
from chain_support import entries_in
from chain_support import kept
from chain_support import read
from chain_support import TABLES
from cipher_support import OTHER
from cipher_support import SEALED
from cipher_support import using
from lfm_ros.storage.log import MissionLog
from log_support import is_beginning
from log_support import NAME
from log_support import Opened
from log_support import same
from log_support import say
from log_support import transcript
import pytest


@pytest.fixture(autouse=True)
def key():
    with using(SEALED):
        yield


@pytest.fixture
def now(tmp_path):
    """
    Return a folder whose missions went on since there was a copy of it, `old`.

    `m` was told anew, `grown` went on, `gone` was deleted, `new` is new, `other` is as it was.
    """
    folder = tmp_path / 'now'
    folder.mkdir()
    with Opened(folder) as opened:
        for name in ('m', 'grown', 'gone', 'other'):
            opened.log.write(transcript(name, 6), 1.0)
        opened.log._keep_time()
    copy_of(folder, 'old')
    with Opened(folder) as opened:
        opened.log.write(transcript('m', 6, seed=1), 2.0)
        grown = opened.log.read('grown')
        for number in (6, 7):
            say(grown, number)
        opened.log.write(grown, 3.0)
        opened.log.delete('gone')
        opened.log.write(transcript('new', 3), 4.0)
    return folder


@pytest.fixture
def attack(now):
    with Attack(now, now.with_name('old')) as found:
        yield found


def check(folder, true, *words, lost=(), beginnings=None):
    """
    Check that an attack is noticed, and what it leaves.

    :param true: the missions as they were; ``lost``: those that may not come back.
    :param beginnings: how many entries come back of those that are not whole.
    """
    beginnings = beginnings or {}
    found, notes = read(folder)
    assert notes and '\n' not in notes
    assert all(word in notes for word in words), notes
    assert set(found) == set(true) - set(lost)
    for name, each in found.items():
        assert is_beginning(each, true[name])
        assert len(each.entries) == beginnings.get(name, len(true[name].entries)), name
    assert kept(folder), 'what cannot be proved is kept'
    with Opened(folder) as opened:  # what came back goes on
        for name, each in found.items():
            if not each.entries:
                each = transcript(name, 1, seed=7)
            say(each, 9)
            opened.log.write(each, 9.0)
            assert not opened.log.durability_error
            found[name] = each
    again, notes = read(folder)
    assert not notes and all(same(again[name], each) for name, each in found.items())


@pytest.fixture
def true(now):
    found, notes = read(copy_of(now, 'untouched'))
    assert not notes and set(found) == {'m', 'grown', 'other', 'new'}
    return found


@pytest.mark.parametrize('number', [0, 1, 3, 5])
def test_an_entry_that_is_replaced_by_an_older_one_is_noticed(now, true, attack, number):
    assert attack.restore('entries', f'mission_id = ? AND number = {number}', 'm') == 1
    check(now, true, "mission 'm'", beginnings={'m': number})
    assert entries_in(kept(now)[0], 'm') == 6


@pytest.mark.parametrize('number', [0, 1, 5])
def test_an_entry_that_is_replaced_with_its_proof_is_noticed(now, true, attack, number):
    attack.restore('entries', f'mission_id = ? AND number = {number}', 'm')
    attack.restore('proofs', f'place = (1 << 32) + {number}')
    check(now, true, "mission 'm'", 'not those that were written last', beginnings={'m': 0})


@pytest.mark.parametrize('name', ['m', 'grown'])
@pytest.mark.parametrize('but', [(), ('missions',), ('proofs',), ('missions', 'proofs')])
def test_a_mission_that_is_put_back_as_it_was_is_noticed(now, true, attack, name, but):
    attack.restore_mission(name, but)
    beginning = 6 if name == 'grown' and 'proofs' in but else 0
    check(now, true, f"mission '{name}'", beginnings={name: beginning},
          lost=() if 'missions' in but or beginning else [name])


@pytest.mark.parametrize('count', [1, 2, 7])
@pytest.mark.parametrize('row_too', [False, True])
def test_last_entries_that_are_deleted_are_noticed(now, true, attack, count, row_too):
    assert attack.run(f'DELETE FROM main.entries WHERE mission_id = ? AND number >= {8 - count}',
                      'grown') == count
    if row_too:
        attack.restore('missions', 'mission_id = ?', 'grown')
    check(now, true, "mission 'grown'", beginnings={'grown': 8 - count})


def test_an_entry_in_the_middle_that_is_deleted_is_noticed(now, true, attack):
    attack.run('DELETE FROM main.entries WHERE mission_id = ? AND number = 4', 'grown')
    check(now, true, "mission 'grown'", 'entry 4 is gone', beginnings={'grown': 4})


def test_entries_that_are_put_behind_the_last_one_are_noticed(now, true, attack):
    attack.run('INSERT INTO main.entries SELECT NULL, mission_id, number + 6, kind, tokens, calls,'
               ' prompt, text, finish_reason, sampling, time, parent, digest, ids, sizes '
               'FROM old.entries WHERE mission_id = ? AND number = 2', 'm')
    check(now, true, "mission 'm'", 'entries were added')


@pytest.mark.parametrize('name', ['m', 'other', 'new'])
def test_a_mission_that_is_deleted_is_noticed(now, true, attack, name):
    attack.remove_mission(name)
    check(now, true, f"mission '{name}'", 'was removed', lost=[name])


def test_all_missions_that_are_deleted_are_noticed(now, true, attack):
    for name in true:
        attack.remove_mission(name)
    check(now, true, "mission 'm'", 'and 1 more', lost=true)


def test_a_mission_that_was_deleted_and_is_put_back_is_noticed(now, true, attack):
    attack.restore_mission('gone')
    check(now, true, "mission 'gone'", 'was added')
    assert entries_in(kept(now)[0], 'gone') == 6


def test_a_mission_with_another_place_in_the_list_is_noticed(now, true, attack):
    attack.run('UPDATE main.missions SET rowid = 99 WHERE mission_id = ?', 'm')
    check(now, true, "mission 'm' is not as it was written last")


@pytest.mark.parametrize('change', ['UPDATE main.clock SET seconds = 1e9',
                                    'DELETE FROM main.clock'])
def test_a_clock_that_is_set_is_noticed(now, true, attack, change):
    attack.run(change)
    check(now, true, 'clock')
    with Opened(now) as opened:
        assert opened.log.uptime < 1e6


@pytest.mark.parametrize('change', [
    'DELETE FROM main.ledger',
    'DELETE FROM main.ledger WHERE place = (SELECT MAX(place) FROM main.ledger)',
    'DELETE FROM main.ledger WHERE place = 3',
    'DELETE FROM main.ledger WHERE place = 0',
    'UPDATE main.ledger SET counter = counter + 1000',
    'UPDATE main.ledger SET counter = 0 WHERE place > 3',
    'UPDATE main.ledger SET record = (SELECT record FROM main.ledger WHERE place = 4) '
    'WHERE place = 5',
    'DELETE FROM main.ledger; INSERT INTO main.ledger SELECT * FROM old.ledger'])
def test_a_list_of_missions_that_is_changed_is_noticed(now, true, attack, change):
    for part in change.split('; '):
        attack.run(part)
    found, notes = read(now)
    assert 'damaged' in notes and kept(now)
    assert all(is_beginning(found[name], true[name]) for name in set(found) & set(true))
    assert set(found) <= set(true) | {'gone'}
    for name in true:  # whole, or it is said that they are not
        assert name in found and same(found[name], true[name]) or f"'{name}'" in notes or \
            'nothing proves' in notes
    assert not read(now)[1]


def test_proofs_that_are_damaged_take_nothing_away(now, true, attack):
    attack.run("UPDATE main.proofs SET digest = X'00' WHERE place >> 32 = 2")
    attack.run('DELETE FROM main.proofs WHERE place >> 32 = 1')
    found, notes = read(now)
    assert not notes and all(same(each, true[name]) for name, each in found.items())
    with Opened(now) as opened:
        for name in ('m', 'grown'):
            found[name].cut(3)
            say(found[name], 3)
            opened.log.write(found[name], 5.0)
    again, notes = read(now)
    assert not notes and all(same(again[name], each) for name, each in found.items())


@pytest.mark.parametrize('seed', range(24))
def test_whatever_rows_are_put_back_or_deleted_together_is_noticed(now, true, attack, seed):
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 5)):
        table = chance.choice(TABLES)
        where = chance.choice(['1', f'rowid % 2 = {chance.randrange(2)}',
                               f'rowid >= {chance.randint(1, 9)}',
                               f'rowid = {chance.randint(0, 9)}',
                               f'rowid >> 32 = {chance.randint(1, 5)}'])
        try:
            if chance.random() < 0.7:
                attack.restore(table, where)
            else:
                attack.run(f'DELETE FROM main.{table} WHERE {where}')
        except sqlite3.IntegrityError:
            pass  # what is in its way stays; what was to be replaced is deleted
    # With both lists as they were it is an older copy of the whole log, and more besides.
    older = all(attack.run_query(f'SELECT COUNT(*) FROM (SELECT * FROM main.{table} EXCEPT '
                                 f'SELECT * FROM old.{table})') == 0
                for table in ('missions', 'ledger'))
    found, notes = read(now)
    assert notes or set(found) == set(true)
    for name, each in found.items():
        whole = name in true and same(each, true[name])
        named = 'nothing proves' in notes or f"'{name}'" in notes or 'more' in notes
        assert whole or named, (name, notes)
        assert 'nothing proves' in notes or older or is_beginning(each, true[name])


def strip(attack):
    """Let a log look as if it was written before logs were chained."""
    for statement in ('DROP TABLE main.ledger', 'DROP TABLE main.proofs',
                      'PRAGMA main.user_version = 2',
                      f'PRAGMA main.application_id = {0x6c666d02}'):
        attack.run(statement)


def test_a_log_without_its_chain_is_not_taken_for_an_old_one(now, true, attack):
    strip(attack)
    attack.restore_mission('gone')
    found, notes = read(now)
    assert 'damaged' in notes and 'nothing proves that they are the newest' in notes
    assert kept(now)
    assert all(same(found[name], true[name]) for name in true)


def test_a_log_that_only_calls_itself_an_old_one_is_none(now, true, attack):
    for name, version in (('user_version', 2), ('application_id', 0x6c666d02)):
        attack.run(f'PRAGMA main.{name} = {version}')
    attack.restore_mission('gone')
    with closing(MissionLog(now / NAME, read_only=True, cipher=SEALED)) as log, \
            pytest.raises(sqlite3.DatabaseError, match="'gone' was added"):
        log.list()
    check(now, true, "mission 'gone' was added")


def test_rows_of_a_log_without_its_chain_are_not_opened_by_those_who_only_read(now, attack):
    strip(attack)
    with closing(MissionLog(now / NAME, read_only=True, cipher=SEALED)) as log:
        with pytest.raises(sqlite3.DatabaseError):
            log.list()
        assert not log.read('m').entries


def test_what_something_else_wrote_into_an_open_log_is_not_taken_over(now, true):
    with Opened(now) as opened:
        with Attack(now, now.with_name('old')) as attack:
            attack.restore('entries', 'mission_id = ? AND number = 3', 'm')
            attack.restore_mission('gone')
            attack.remove_mission('new')
        assert set(opened.prefill_all()) == set(true)
        assert len(opened.log.read('m').entries) == 3
        assert not opened.log.read('new').entries
        assert {note.partition("'")[2][:3] for note in opened.notes} == {"m' ", 'new'}
        say(true['grown'], 8)
        opened.log.write(true['grown'], 5.0)
        assert not opened.log.durability_error
    check(now, true, "mission 'gone'", "mission 'new'", lost=['new'], beginnings={'m': 3})


def test_a_mission_whose_place_in_the_list_something_else_took_is_written_later(now, true):
    with Opened(now) as opened:
        with Attack(now, now.with_name('old')) as attack:
            attack.restore_mission('gone')
        more = transcript('more', 2)
        opened.log.write(more, 5.0)
        assert opened.log.durability_error and opened.log.retry()
        assert "mission 'gone' was added" in opened.notes[-1]
        opened.log.write(more, 5.0)
        assert not opened.log.durability_error
    found, notes = read(now)
    assert not notes and set(found) == {*true, 'more'}


def test_a_list_that_is_changed_while_it_is_open_ends_the_writing_until_it_is_mended(now, true):
    with Opened(now) as opened:
        with Attack(now, now.with_name('old')) as attack:
            for table in TABLES:
                attack.restore(table, '1')
        opened.log.write(transcript('more', 2), 5.0)
        assert 'something else has changed it' in opened.log.durability_error
        assert opened.log.retry() and opened.notes
        opened.log.write(transcript('more', 2), 5.0)
        assert not opened.log.durability_error


@pytest.mark.parametrize('attack_it', [
    lambda attack: attack.restore_mission('m'),
    lambda attack: attack.restore_mission('gone'),
    lambda attack: attack.remove_mission('new'),
    lambda attack: attack.run('DELETE FROM main.ledger')])
def test_who_only_reads_notices_a_list_that_was_changed(now, attack, attack_it):
    attack_it(attack)
    with closing(MissionLog(now / NAME, read_only=True, cipher=SEALED)) as log, \
            pytest.raises(sqlite3.DatabaseError):
        log.list()


def test_who_only_reads_sees_what_is_written_meanwhile(now, true):
    with Opened(now) as opened, \
            closing(MissionLog(now / NAME, read_only=True, cipher=SEALED)) as reader:
        for number in range(70):  # records of all missions take the place of the others
            say(true['m'], number + 6)
            opened.log.write(true['m'], 5.0)
            assert same(reader.read('m'), true['m']) and len(reader.list()) == 4


def test_the_records_of_what_changed_do_not_grow_without_end(now, true):
    with Opened(now) as opened:
        for number in range(300):
            opened.log.write(transcript(f'{number % 50}', 1 + number // 50), 5.0)
        size, = opened.log.log.database.execute('SELECT COUNT(*) FROM ledger').fetchone()
        assert size <= 2 * 54 + 1
        expected = opened.prefill_all()
    found, notes = read(now)
    assert not notes and all(same(each, expected[name]) for name, each in found.items())


def test_an_older_copy_of_the_whole_log_is_taken_for_the_newest(now):
    """No file in the folder can prevent that: SECURITY.md says so."""
    found, notes = read(now.with_name('old'))
    assert not notes and set(found) == {'m', 'grown', 'gone', 'other'}


def test_a_ledger_of_another_key_proves_nothing(now, attack):
    with closing(MissionLog(now.with_name('other.db'), cipher=OTHER)) as log:
        row, = log.database.execute('SELECT * FROM ledger').fetchall()
    attack.run('DELETE FROM main.ledger')
    attack._database.execute('INSERT INTO main.ledger VALUES (?, ?, ?)', row)
    assert 'damaged' in read(now)[1]


@pytest.mark.parametrize('text', ['', 'no', 'yes', 'x' * 63, 'x' * 64, 'é😀', 'a\0\0', '\x80'])
def test_what_is_sealed_in_a_row_does_not_tell_how_short_it_is(text):
    rows = SEALED.rows
    sealed = rows.seal(text, 'there')
    assert rows.open(sealed, 'there', str) == text
    assert (len(sealed) - 28) % 64 == 0
    assert len(rows.seal('no', 'there')) == len(rows.seal('I have no idea.', 'there'))
    data = text.encode()
    assert rows.open(rows.seal(data, 'there'), 'there', bytes) == data
