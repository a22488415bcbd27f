# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Logs with a key in which somebody else has written: what may not be believed, nor take long."""
from contextlib import closing
from dataclasses import astuple
import json
import sqlite3

from cipher_support import SEALED
from cipher_support import using
from lfm_ros.storage import log_recovery as recover
from lfm_ros.storage import log_remains as remains
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.ledger import Head
from lfm_ros.storage.ledger import Ledger
from lfm_ros.storage.log import MissionLog
from log_support import filled
from log_support import NAME
from log_support import Opened
from log_support import same
from planted_support import PLANTS
from planted_support import soon
import pytest

HEAD = Head('n', 1, 'f', 0, 5, 2, 'd', 1.5, 3, 'l')


@pytest.fixture(autouse=True)
def key():
    with using(SEALED):
        yield


@pytest.fixture
def place(tmp_path):
    """Return the folder of a log with a key, and what is in it."""
    return tmp_path / 'place', filled(tmp_path / 'place', a=7, b=4)


def record_of(text):
    """Seal what a first record says."""
    ledger = Ledger(SEALED.rows)
    return ledger.opened(0, 1, SEALED.rows.seal(text, 'record 1 0 '))


def told(heads=(HEAD,), **others):
    return json.dumps({'heads': [astuple(head) for head in heads], 'gone': [], 'clock': 0.5,
                       **others})


def test_a_record_of_the_right_types_is_read():
    assert record_of(told()).heads == (HEAD,)


@pytest.mark.parametrize('text', [
    '', '[]', '{}', '[' * 100_000, told(clock=1), told(clock=-1.0), told(clock=1e300),
    told(clock='x'), told(gone=[1]), told(gone=3), told(heads=[HEAD], gone=None),
    '{"heads": [[1]], "gone": [], "clock": 0.5}', '{"heads": 1, "gone": [], "clock": 0.5}'],
    ids=lambda text: text[:40])
def test_a_record_that_says_something_else_is_damaged(text):
    with pytest.raises(Damaged):
        record_of(text)


@pytest.mark.parametrize(('field', 'value'), [
    ('name', 1), ('place', 0), ('place', 1 << 31), ('place', '1'), ('fingerprint', 'f' * 100_000),
    ('slid', -1), ('tokens', 1 << 31), ('turns', 1.5), ('digest', None), ('used', 1e300),
    ('used', 1), ('count', -1), ('count', 1 << 40), ('count', 'x'), ('link', 7)])
def test_a_record_of_a_mission_that_cannot_be_is_damaged(field, value):
    head = Head(**{**vars(HEAD), field: value})
    with pytest.raises(Damaged):
        record_of(told([head]))


@pytest.mark.parametrize('statement', [
    'CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM missions; END',
    'CREATE TRIGGER t AFTER INSERT ON ledger BEGIN DELETE FROM proofs; END',
    'CREATE VIEW v AS SELECT * FROM ledger', 'CREATE INDEX i ON ledger (record)',
    'ALTER TABLE proofs ADD COLUMN extra', 'CREATE TABLE other (id)'])
def test_a_chained_log_with_something_foreign_in_its_schema_is_mended(place, statement):
    folder, made = place
    with closing(sqlite3.connect(folder / NAME)) as opened:
        opened.execute(statement)
        opened.commit()
    with pytest.raises(sqlite3.DatabaseError, match='not those of a log'):
        MissionLog(folder / NAME, read_only=True, cipher=SEALED)
    with Opened(folder) as opened:
        assert 'not those of a log' in opened.notes[0] and not opened.log.durability_error
        found = opened.prefill_all()
        assert sorted(found) == ['a', 'b']
        assert all(same(each, made[name]) for name, each in found.items())


@pytest.mark.parametrize('ending', ['', '-journal', '-wal', '-shm'])
@pytest.mark.parametrize('plant', PLANTS)
def test_what_is_planted_where_a_copy_of_a_log_is_to_be_is_not_followed(place, ending, plant):
    folder, made = place
    victim = folder.with_name('victim')
    victim.write_text('mine')
    aside = folder / 'aside'
    with closing(MissionLog(folder / NAME, cipher=SEALED)) as log:
        plant(aside.with_name(f'aside{ending}'), victim)
        try:
            soon(lambda: log.copy_to(aside))
        except (sqlite3.Error, OSError):
            assert not ending or not aside.exists()
        else:
            assert ending == '-journal'
            with closing(MissionLog(aside, cipher=SEALED)) as copy:
                assert same(copy.read('a'), made['a'])
    assert victim.read_text() == 'mine'


def test_a_name_that_something_planted_has_is_not_that_of_a_kept_log(place, monkeypatch):
    folder, _ = place
    monkeypatch.setattr(recover.time, 'strftime', lambda _: 'now')
    (folder / f'{NAME}.damaged-now').symlink_to('nowhere')
    assert recover.aside_of(folder / NAME).name == f'{NAME}.damaged-now-1'


def test_copies_of_rows_that_an_index_would_not_allow_take_no_longer(place, monkeypatch):
    folder, made = place
    with closing(sqlite3.connect(folder / NAME)) as opened:  # it is damaged, so pages are read
        opened.execute('CREATE TABLE other (id)')
    real = remains.rows_of

    def flood(file):
        for number, values in real(file):
            for _ in range(3000 if len(values) in (2, 3) or number < 3 else 1):
                yield number, list(values)

    monkeypatch.setattr(remains, 'rows_of', flood)
    records = remains.Remains(folder / NAME, SEALED)._records
    assert records and all(len(each) == 1 for each in records.values())
    with soon(lambda: Opened(folder)) as opened:
        assert all(same(each, made[name]) for name, each in opened.prefill_all().items())
        assert sorted(opened.prefill_all()) == ['a', 'b'] and opened.notes
