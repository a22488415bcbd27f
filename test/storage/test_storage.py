# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Missions outlive the process, and answer afterwards as if it had never ended."""
import random
import shutil
import subprocess
import sys

from cipher_support import cipher  # noqa: F401
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.storage.durable_log import DurableLog
from lfm_ros.storage.storage import Storage
import pytest
from storage_support import close
from storage_support import files_in
from storage_support import open_store
from storage_support import place  # noqa: F401
from storage_support import tell
from storage_support import told
from storage_support import Twins
from storage_support import WORDS
from support import assert_one_line
from support import environment
from support import folder
from support import LONG_TEXT
from support import open_model
from support import WAIT

HOLD = """
import sys, pathlib, types
sys.path.insert(0, {test!r})
from lfm_ros.storage.storage import Storage
model = types.SimpleNamespace(folder=types.SimpleNamespace(fingerprint='f'))
storage = Storage(pathlib.Path({folder!r}), model)
print('held', flush=True)
sys.stdin.read()
storage.close()
"""


def nothing(_):
    """Spoil nothing."""


def without_states(folder):
    """Take all checkpoints away."""
    shutil.rmtree(folder / 'states')


def without_some(folder):
    """Take some of the checkpoints away."""
    chance = random.Random(len(files_in(folder)))
    for file in files_in(folder):
        if chance.random() < 0.5:
            file.unlink()


@pytest.fixture(params=[nothing, without_states, without_some])
def spoil(request):
    return request.param


@pytest.fixture(params=[False, True], ids=['closed', 'killed'])
def kill(request):
    return request.param


@pytest.fixture
def twins(place, cipher):  # noqa: F811
    found = Twins(place, checkpoint_turns=2)
    for round_, name in enumerate(['a', 'b', 'a', 'a', 'c', 'b', 'a']):
        found.tell(name, f'{WORDS[round_ % 4]} {round_}')
        found.store.maintain(0)
    yield found
    found.close()


def test_missions_answer_after_a_restart_as_if_there_had_been_none(twins, spoil, kill):
    twins.reopen(kill, spoil)
    twins.check()
    for name in 'abc':
        twins.tell(name, 'And now?')
    twins.reopen(kill, spoil)
    twins.tell('a', LONG_TEXT[:90])
    twins.check()


def test_forks_resets_and_deletions_outlive_the_process(twins, spoil, kill):
    twins.both('fork', 'a', 'd')
    twins.both('reset', 'b')
    twins.both('delete', 'c')
    twins.reopen(kill, spoil)
    twins.check()
    for name in 'abd':
        twins.tell(name, f'Are you {name}?')
    twins.both('delete', 'a')
    twins.both('fork', 'd', 'a')
    twins.reopen(kill, spoil)
    twins.check()


@pytest.mark.parametrize('keep', range(5))
def test_a_rewind_outlives_the_process(twins, spoil, kill, keep):
    twins.both('rewind', 'a', keep)
    twins.reopen(kill, spoil)
    twins.check()
    twins.tell('a', 'Go.')
    twins.both('rewind', 'a', max(0, keep - 1))
    twins.tell('a', 'Stop.')
    twins.reopen(kill, spoil)
    twins.check()


def test_an_observation_that_nobody_asked_about_outlives_the_process(twins, spoil, kill):
    twins.both('observe', 'b', 'It is dark.')
    twins.both('observe', 'new', 'The battery is at 34 %.')
    twins.store.maintain(0)
    twins.reopen(kill, spoil)
    twins.check()
    for name in ('b', 'new'):
        twins.tell(name, 'What now?')


def test_eviction_changes_no_answer(place, spoil, cipher):  # noqa: F811
    twins = Twins(place, checkpoint_turns=2)
    twins.store.memory.limit = twins.store.memory.nbytes * 7 // 2
    for round_ in range(30):
        name = 'abcdef'[round_ * round_ % 6]
        if round_ == 20:
            twins.store.storage.flush()  # or a checkpoint is written beside it
            spoil(place)
        twins.tell(name, f'{WORDS[round_ % 5]} {round_}')
        assert twins.store.memory.nbytes <= twins.store.memory.limit
        twins.store.maintain(0)
    assert sum(info.resident for info in twins.store.list()) < 4
    twins.check()
    twins.close()


def test_a_mission_that_was_put_aside_can_be_all_that_others_can(twins):
    twins.twin.evict('a')  # without a disk: it is read again
    twins.store.evict('a')
    assert not twins.store.list()[0].resident
    twins.both('fork', 'a', 'd')
    twins.store.evict('a')
    twins.both('rewind', 'a', 2)
    twins.store.evict('b')
    twins.both('observe', 'b', 'It is dark.')
    twins.store.evict('b')
    twins.both('reset', 'b')
    twins.store.evict('c')
    twins.both('delete', 'c')
    twins.check()


def test_what_was_deleted_before_it_was_written_does_not_come_back(place, cipher):  # noqa: F811
    model = open_model('lfm2-int4')
    store = open_store(place, model)
    tell(store, 'a', 'Where?')
    mission = store.get('a')
    mission.forget(1, 0)  # it is as new: nothing of it is in the log
    assert not mission.logged
    store.delete('a')
    close(store)
    store = open_store(place, model)
    assert not store.list()
    close(store)


def test_expiry_goes_by_the_time_for_which_the_node_ran(place, monkeypatch):  # noqa: F811
    model = open_model('lfm2-int4')
    retention = {'expire': 1000.0, 'never_expire': ('keep*', 'x')}
    now = [0.0]
    real = DurableLog.uptime.fget
    monkeypatch.setattr(DurableLog, 'uptime', property(lambda log: real(log) + now[0]))
    store = open_store(place, model, **retention)
    for name in ('old', 'young', 'keeper', 'x', 'xx'):
        tell(store, name, 'Where?')
    for seconds in (0.0, 4e9, 7e9):  # 1970, 2096, 2191: nobody cares
        with monkeypatch.context() as patch:
            patch.setattr('time.time', lambda seconds=seconds: seconds)
            store.maintain(0)
            close(store)
            store = open_store(place, model, **retention)
            store.maintain(0)
            assert len(store.list()) == 5
    now[0] += 600
    tell(store, 'young', 'And?')
    now[0] += 600
    store.maintain(0)
    assert [info.mission_id for info in store.list()] == ['young', 'keeper', 'x']
    close(store)
    now[0] = 0.0  # it goes on where it ended
    store = open_store(place, model, **retention)
    assert 1100 < store.storage.uptime < 1300
    assert [info.mission_id for info in store.list()] == ['young', 'keeper', 'x']
    now[0] += 600
    store.maintain(0)
    assert [info.mission_id for info in store.list()] == ['keeper', 'x']
    close(store)


def test_there_are_never_more_missions_than_allowed(place):  # noqa: F811
    model = open_model('lfm2-int4')
    store = open_store(place, model, max_missions=2)
    tell(store, 'a', 'Where?')
    tell(store, 'b', 'Where?')
    store.evict('a')
    for refused in (lambda: tell(store, 'c', 'Where?'), lambda: store.fork('a', 'c'),
                    lambda: store.observe('c', 'It is dark.')):
        with pytest.raises(LfmError) as caught:
            refused()
        assert caught.value.code == ErrorCode.TOO_MANY_MISSIONS
    close(store)
    store = open_store(place, model, max_missions=1)  # what is there stays
    assert len(store.list()) == 2
    tell(store, 'a', 'Go.')
    close(store)


def test_another_model_under_the_same_path_is_told_the_mission_again(
        place, tmp_path, caplog):  # noqa: F811
    path = tmp_path / 'model'
    shutil.copytree(folder('lfm2-int4'), path)
    from lfm_ros.engine.model import Model
    from lfm_ros.engine.model_options import ModelOptions
    store = open_store(place, Model(path, ModelOptions(threads=1)))
    texts = [tell(store, 'a', prompt) for prompt in WORDS[:3]]
    store.observe('a', 'It is dark.')
    close(store)
    shutil.rmtree(path)
    shutil.copytree(folder('qwen3'), path)
    other = Model(path, ModelOptions(threads=1))
    store = open_store(place, other)
    mission = store.get('a')
    assert 'another model' in caplog.text
    assert [turn.text for turn in mission.turns] == texts
    assert mission.entries[-1].prompt == 'It is dark.'
    assert mission.fingerprint == other.folder.fingerprint
    answer = tell(store, 'a', 'Where?')
    expected = told(store, 'a')
    close(store)
    store = open_store(place, other)
    assert told(store, 'a') == expected and store.get('a').turns[-1].text == answer
    close(store)


def test_a_folder_in_use_is_refused_with_the_process_that_has_it(place):  # noqa: F811
    script = HOLD.format(test=str(folder().parent.parent), folder=str(place))
    with subprocess.Popen([sys.executable, '-c', script], env=environment(), text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == 'held\n'
        with pytest.raises(LfmError) as caught:
            Storage(place, open_model('lfm2-int4'))
        assert caught.value.code == ErrorCode.MISSIONS_LOCKED
        assert_one_line(caught.value.message, str(holder.pid), 'missions.dir')
        holder.kill()
        holder.wait(WAIT)
        storage = Storage(place, open_model('lfm2-int4'))
        assert str(holder.pid) in storage.notice and 'killed' in storage.notice
        storage.close()
    storage = Storage(place, open_model('lfm2-int4'))
    assert not storage.notice
    with pytest.raises(LfmError):
        Storage(place, open_model('lfm2-int4'))
    storage.close()


def test_a_place_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    for where in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(LfmError) as caught:
            Storage(where, open_model('lfm2-int4'))
        assert caught.value.code == ErrorCode.STORAGE_FAILED
        assert_one_line(caught.value.message, str(where), 'missions.dir')


def test_a_folder_that_is_not_required_is_waited_for_and_never_taken_from_another(
        tmp_path):
    blocker, where = tmp_path / 'a', tmp_path / 'a' / 'missions'
    blocker.write_text('')
    model = open_model('lfm2-int4')
    store = MissionStore(model, 'You are a robot.', storage=Storage(where, model, required=False))
    answer = tell(store, 'm', 'Where?')
    assert str(where) in store.storage.durability_error and not store.storage.durable
    store.maintain(0.0)
    assert not store.storage.durable
    blocker.unlink()
    holder = Storage(where, open_model('lfm2-int4'))
    store.maintain(0.0)
    assert not store.storage.durable and 'is used by process' in store.storage.durability_error
    holder.close()
    store.maintain(0.0)
    assert store.storage.durable
    expected = told(store, 'm')
    close(store)
    store = open_store(where, model, 'You are a robot.')
    assert told(store, 'm') == expected and store.get('m').turns[-1].text == answer
    close(store)


def test_the_budget_holds_wherever_it_ends(place):  # noqa: F811
    # Not only states are in it: a turn leaves marks and ids as well.
    model = open_model('lfm2', prefill_chunk=16)
    store = open_store(place, model)
    tell(store, 'a', 'Where?')
    least, step = store.memory.nbytes + model.new_state().nbytes_at(80), 640
    for more in range(0, 40 * step, step):
        store.memory.limit = least + more
        for name in 'abc':
            tell(store, f'{name}{more % (4 * step)}', 'And?')
            assert store.memory.nbytes <= least + more
    close(store)
