# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""With a key a store notices what was replaced in its folder, and goes on with the rest."""
import json
from pathlib import Path
import shutil
import sqlite3

from chain_support import Attack
from chain_support import copy_of
from chain_support import kept
from cipher_support import SEALED
from cipher_support import using
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.chain import Chain
from lfm_ros.storage.layout import LOG_FILE
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.log_schema import VERSIONS
from lfm_ros.storage.offline import CHANGE
from lfm_ros.storage.offline import OfflineMissions
from lfm_ros.storage.offline import READ
import pytest
from storage_support import close
from storage_support import copy_if_there
from storage_support import open_store
from storage_support import place  # noqa: F401
from storage_support import tell
from storage_support import told
from support import assert_one_line
import vision_support

OLD = Path(__file__).parent / 'folders' / 'sealed'  # as the code before logs were chained made it


@pytest.fixture(autouse=True)
def key():
    with using(SEALED):
        yield


@pytest.fixture
def old(tmp_path):
    """Return a copy of a folder from before logs were chained, and what was told there."""
    folder = shutil.copytree(OLD / 'missions', tmp_path / 'old')
    return folder, json.loads((OLD / 'told.json').read_text())


class Log:
    """An attack on the log of a store."""

    def __init__(self, folder, old):
        name = SEALED.named(LOG_FILE)
        self.attack = Attack(folder, old, name)

    def __enter__(self):
        return self.attack.__enter__()

    def __exit__(self, *error):
        self.attack.__exit__(*error)


@pytest.fixture
def seeing(place):  # noqa: F811
    """Return a folder in which another image was shown than in an older copy, and the model."""
    model = vision_support.open_model()
    store = open_store(place, model)
    for seed in (0, 1):
        for name in ('m', 'other'):
            mission = store.get_or_create(name)
            vision_support.answer(mission, 'What?', vision_support.image(seed=seed + 9))
            store.commit(name)
        if not seed:
            store.flush_all()
            store.storage.log._truncate()
            copy_of(place, 'earlier')
            store.reset('m')
    expected = {name: told(store, name) for name in ('m', 'other')}
    close(store)
    return place, model, expected


@pytest.mark.parametrize('change', [
    ['DELETE FROM main.shown WHERE mission_id = ?'],
    ['UPDATE main.shown SET digest = (SELECT digest FROM old.shown WHERE mission_id = ?)'],
    ['DELETE FROM main.pictures WHERE 1 OR ?'],
    ['UPDATE main.pictures SET main = (SELECT main FROM old.pictures) WHERE 1 OR ?'],
    ['DELETE FROM main.shown WHERE mission_id = ?',
     'INSERT INTO main.shown SELECT * FROM old.shown WHERE mission_id = ?']])
def test_images_that_are_replaced_or_taken_away_are_noticed(seeing, change):
    folder, model, expected = seeing
    with Log(folder, folder.with_name('earlier')) as attack:
        for statement in change:
            assert attack.run(statement, 'm')
    store = open_store(folder, model)
    assert told(store, 'm') == expected['m'][:1]
    assert_one_line(store.storage.notice, "'m'", 'damaged', 'are lost', kept(folder)[0].name)
    tell(store, 'm', 'And now?')
    close(store)


def test_what_is_told_to_a_mission_that_was_put_back_is_not_told_to_the_older_one(seeing):
    folder, model, expected = seeing
    with Log(folder, folder.with_name('earlier')) as attack:
        attack.restore_mission('m')
    store = open_store(folder, model)
    assert "mission 'm' is not as it was written last" in store.storage.notice
    assert [info.mission_id for info in store.list()] == ['other']
    assert told(store, 'other') == expected['other']
    tell(store, 'm', 'Who are you?')
    assert store.get('m').turn_count == 1
    close(store)


def test_checkpoints_that_are_put_back_or_taken_away_change_no_answer(place):  # noqa: F811
    model = vision_support.open_model()
    store = open_store(place, model, checkpoint_turns=1)
    tell(store, 'm', 'Where?')
    store.save('m')
    earlier = copy_of(place, 'earlier')
    tell(store, 'm', 'And now?')
    store.save('m')
    store.flush_all()
    copies = [copy_of(place, name) for name in ('put back', 'taken away')]
    expected = tell(store, 'm', 'Then?')
    close(store)
    for folder in copies:
        shutil.rmtree(folder / 'states')
    shutil.copytree(earlier / 'states', copies[0] / 'states')
    for folder in copies:
        store = open_store(folder, model)
        assert tell(store, 'm', 'Then?') == expected
        close(store)


def test_a_damaged_digest_of_an_entry_keeps_no_store_from_opening(seeing):
    folder, model, expected = seeing
    with Log(folder, folder.with_name('earlier')) as attack:
        attack.run("UPDATE main.entries SET digest = 'x' WHERE number = 1 AND mission_id = ?", 'm')
    store = open_store(folder, model)
    assert told(store, 'other') == expected['other']
    assert told(store, 'm') == expected['m'][:1]
    close(store)


@pytest.mark.parametrize('statement', ['DELETE FROM main.entries WHERE mission_id = ? AND number',
                                       'DELETE FROM main.shown WHERE mission_id = ?'])
def test_a_mission_that_is_not_whole_is_not_exported(seeing, tmp_path, statement):
    folder, _, _ = seeing
    with Log(folder, folder.with_name('earlier')) as attack:
        attack.run(statement, 'm')
    with OfflineMissions(folder, CHANGE, SEALED) as shelf:
        with pytest.raises(LfmError) as raised:
            shelf.export('m', tmp_path / 'm.lfm')
        assert raised.value.code == ErrorCode.STORAGE_FAILED
        assert_one_line(raised.value.message, "mission 'm'", 'entry 1')
        assert 'entry 1' in shelf.show('m')[2] and not shelf.show('other')[2]
        assert shelf.export('other', tmp_path / 'other.lfm')
    assert not (tmp_path / 'm.lfm').exists()


def test_a_folder_from_before_logs_were_chained_opens_and_goes_on(old):
    folder, expected = old
    model = vision_support.open_model()
    store = open_store(folder, model)
    assert not store.storage.notice and not store.storage.durability_error
    assert [info.mission_id for info in store.list()] == ['patrol', 'fork']
    for name in ('patrol', 'fork'):
        assert [[e.kind, e.prompt, e.text, e.digest] for e in store.get(name).entries] == \
            expected[name]
    assert not store.get('fork').pending_sizes, 'its states are good as well'
    assert tell(store, 'fork', 'And now?', 8) == expected['then']
    close(store)
    with MissionLogOf(folder) as log:
        assert log.database.execute('PRAGMA user_version').fetchone()[0] == 3
        assert len(log._chain.heads) == 2
    store = open_store(folder, model)
    assert store.get('fork').turns[-1].text == expected['then'] and not store.storage.notice
    close(store)


class MissionLogOf:
    """The log of a folder, opened."""

    def __init__(self, folder):
        self._log = MissionLog(folder / SEALED.named(LOG_FILE), cipher=SEALED)

    def __enter__(self):
        return self._log

    def __exit__(self, *_):
        self._log.close()


def test_what_was_sealed_before_logs_were_chained_is_sealed_anew(old):
    folder, _ = old
    before = copy_of(folder, 'before')
    with MissionLogOf(folder):
        pass
    with Log(folder, before) as attack:
        for table, column in (('entries', 'prompt'), ('entries', 'ids'), ('missions', 'seal'),
                              ('pictures', 'main')):
            assert not attack.run(f'UPDATE main.{table} SET {column} = {column} WHERE {column} IN '
                                  f'(SELECT {column} FROM old.{table})')
        # None of it passes for a row of the log any more, and nothing of the log for one of then.
        for table in ('missions', 'entries'):
            attack.restore(table, 'mission_id = ?', 'fork')
    store = open_store(folder, vision_support.open_model())
    assert "mission 'fork'" in store.storage.notice
    assert [info.mission_id for info in store.list()] == ['patrol']
    close(store)


@pytest.mark.parametrize('statement', [
    'UPDATE missions SET turns = 1', "UPDATE entries SET text = X'00' WHERE number = 1",
    'DELETE FROM entries WHERE number = 2', "UPDATE pictures SET main = X'00'",
    'UPDATE clock SET seconds = "x"', 'UPDATE clock SET seconds = 1e300',
    'UPDATE missions SET rowid = rowid << 40', 'UPDATE missions SET rowid = -rowid'])
def test_what_is_damaged_in_a_folder_from_before_is_kept_aside(old, statement):
    folder, expected = old
    database = sqlite3.connect(folder / SEALED.named(LOG_FILE), isolation_level=None)
    assert database.execute(statement).rowcount
    database.close()
    store = open_store(folder, vision_support.open_model())
    assert_one_line(store.storage.notice, 'damaged', kept(folder)[0].name)
    for info in store.list():
        found = told(store, info.mission_id)
        assert found == [entry[-1] for entry in expected[info.mission_id]][:len(found)]
    tell(store, 'patrol', 'And now?')
    close(store)
    with MissionLogOf(folder) as log:
        assert log.find('patrol')


def test_a_folder_from_before_can_be_read_without_being_changed(old):
    folder, expected = old
    file = folder / SEALED.named(LOG_FILE)
    before = file.read_bytes()
    with OfflineMissions(folder, READ, SEALED) as shelf:
        assert [mission.mission_id for mission in shelf.list()] == ['patrol', 'fork']
        assert [entry.digest for entry in shelf.show('patrol')[1].entries] == \
            [entry[-1] for entry in expected['patrol']]
    assert file.read_bytes() == before


def test_a_folder_from_before_that_cannot_be_chained_stays_as_it_is(old, monkeypatch):
    folder, expected = old
    file = folder / SEALED.named(LOG_FILE)
    before = file.read_bytes()
    with monkeypatch.context() as patch:
        def fail(chain, heads, clock):
            if heads:
                raise sqlite3.OperationalError('the disk is full')
            begin_with(chain, heads, clock)
        begin_with = Chain.begin_with
        patch.setattr('lfm_ros.storage.chain.Chain.begin_with', fail)
        store = open_store(folder, vision_support.open_model())
        assert 'not durable' in store.storage.durability_error
        assert told(store, 'patrol') == [entry[-1] for entry in expected['patrol']]
        store.storage.close()
    assert file.read_bytes() == before
    store = open_store(folder, vision_support.open_model())
    assert told(store, 'patrol') == [entry[-1] for entry in expected['patrol']]
    assert not store.storage.durability_error
    close(store)


def test_a_kill_while_a_folder_is_chained_loses_nothing(old, monkeypatch):
    folder, expected = old
    killed = folder.with_name('killed')
    begin_with = Chain.begin_with

    def then_kill(chain, heads, clock):
        begin_with(chain, heads, clock)
        shutil.copytree(folder, killed, copy_function=copy_if_there)
    with monkeypatch.context() as patch:
        patch.setattr(Chain, 'begin_with', then_kill)
        with MissionLogOf(folder):
            pass
    for each in (folder, killed):
        store = open_store(each, vision_support.open_model())
        assert not store.storage.notice and not store.storage.durability_error
        for name in ('patrol', 'fork'):
            assert told(store, name) == [entry[-1] for entry in expected[name]]
        close(store)


def test_without_a_key_a_log_has_no_chain(tmp_path):
    log = MissionLog(tmp_path / 'missions.db')
    tables = [row[0] for row in log.database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    assert tables == ['clock', 'entries', 'missions', 'pictures', 'shown']
    assert log.database.execute('PRAGMA user_version').fetchone()[0] == len(VERSIONS) == 2
    log.close()
