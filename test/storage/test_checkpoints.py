# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A state comes back as it was, or not at all: then the log is read again."""
import os
import random
import shutil

from cipher_support import cipher  # noqa: F401
from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.storage import atomic_files as files
from lfm_ros.storage import checkpoints
from lfm_ros.storage import storage as storage_module
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.storage import Storage
import pytest
from storage_support import close
from storage_support import files_in
from storage_support import open_store
from storage_support import place  # noqa: F401
from storage_support import SYSTEM
from storage_support import tell
from storage_support import told
from support import ask
from support import assert_same
from support import LONG_TEXT
from support import NAMES
from support import open_model


def longer(model, *prompts, mission_id='m'):
    """Return a mission that needs several pieces."""
    mission = Mission(mission_id, model, model.template.preamble(SYSTEM), SYSTEM)
    for prompt in prompts or (LONG_TEXT, 'Go.', LONG_TEXT[:60]):
        ask(mission, prompt)
    mission.prefill_all()
    return mission


def as_told(mission):
    """Return the transcript of a mission, as the log has it."""
    return Transcript(mission.mission_id, mission.fingerprint, list(mission.ids), [],
                      mission.chunk_sizes + mission.pending_sizes, list(mission.entries),
                      mission.slid)


def restored(storage, mission):
    """Return a mission with that transcript as storage brings it back."""
    found = Mission.of(as_told(mission), mission.model)
    storage.restore(found)
    return found


def saved(storage, *missions):
    """Write the states of missions."""
    for mission in missions:
        storage.save(mission)
        storage.flush()
    assert not storage.durability_error


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    """Let a short mission need several files."""
    monkeypatch.setattr(checkpoints, 'SEGMENT', 100)


@pytest.fixture
def storage(place, cipher):  # noqa: F811
    storage = Storage(place, open_model('lfm2-int4'), cipher)
    yield storage
    storage.close()


@pytest.fixture
def chain(storage):
    """Return a mission whose checkpoint stands on two others, and their files."""
    mission = longer(storage.model, 'Where?')
    saved(storage, mission)
    for prompt in (LONG_TEXT, 'Go.'):
        ask(mission, prompt)
        mission.prefill_all()
        saved(storage, mission)
    return mission, [piece.path for link in storage.checkpoints.chain(mission.digest)
                     for piece in link]


@pytest.mark.parametrize('shared', [True, False], ids=['shared', 'growing'])
@pytest.mark.parametrize('name', NAMES)
def test_a_state_of_every_model_comes_back(
        place, monkeypatch, name, shared, cipher):  # noqa: F811
    model = open_model(name)
    if shared and not model.runner.shared:
        pytest.skip('this graph cannot append in place')
    monkeypatch.setattr(model.runner, 'shared', shared)
    mission = longer(model)
    storage = Storage(place, model, cipher)
    saved(storage, mission)
    assert len(files_in(place)) > 1
    storage.close()
    storage = Storage(place, model, cipher)
    found = restored(storage, mission)
    assert (found.pending, found.chunk_sizes) == (0, mission.chunk_sizes)
    assert_same(found.state.arrays(), mission.state.arrays())
    assert ask(found, 'And?').generation.ids == ask(mission, 'And?').generation.ids
    found.prefill_all()
    saved(storage, found)  # what came since stands on what was there
    assert_same(restored(storage, found).state.arrays(), found.state.arrays())
    storage.close()


def flip(place_, bit):
    def spoil(file):
        data = bytearray(file.read_bytes())
        data[place_ % len(data)] ^= 1 << bit
        file.write_bytes(data)
    return spoil


def cut(share):
    def spoil(file):
        os.truncate(file, int(file.stat().st_size * share))
    return spoil


def remove(file):
    file.unlink()


def make_folder(file):
    file.unlink()
    file.mkdir()


def grow(file):
    file.write_bytes(file.read_bytes() + b'\0')


CHANCE = random.Random(0)
SPOILS = [remove, make_folder, grow, *map(cut, (0, 0.001, 0.1, 0.5, 0.99, 0.9999)),
          *(flip(place_, CHANCE.randrange(8)) for place_ in range(8)),
          *(flip(CHANCE.randrange(600), CHANCE.randrange(8)) for _ in range(30)),
          *(flip(CHANCE.randrange(1 << 30), CHANCE.randrange(8)) for _ in range(30)),
          *(flip(-place_, 7) for place_ in (1, 2, 64))]


@pytest.mark.parametrize('number', range(4))
def test_what_is_damaged_is_not_loaded(place, storage, chain, number):  # noqa: F811
    mission, paths = chain
    assert len(paths) == 4
    keep = place.with_name('keep')
    shutil.copytree(place / 'states', keep)
    before = paths[number]
    start = int(before.name.split('.')[2].split('-')[0])
    for case, spoil in enumerate(SPOILS):
        for path in (place / 'states').iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(keep, place / 'states', dirs_exist_ok=True)
        spoil(before)
        storage.notice = ''
        storage.checkpoints = Checkpoints(
            place / 'states', mission.fingerprint, cipher=storage.cipher)
        found = restored(storage, mission)
        assert found.state.position <= start or number == 2, case
        assert 'cannot be used' in storage.notice or spoil is remove, case
        found.prefill_all()
        assert found.chunk_sizes == mission.chunk_sizes
        assert_same(found.state.arrays(), mission.state.arrays())
        assert not before.is_file()


def test_what_belongs_to_another_is_not_loaded(place, storage, chain):  # noqa: F811
    mission, paths = chain
    other = longer(storage.model, 'What?', LONG_TEXT, 'Go.', mission_id='other')
    saved(storage, other)
    theirs = [p.path for p in storage.checkpoints.chain(other.digest)[0]]
    assert len(theirs) == 3
    shutil.copy(theirs[0], paths[1])
    shutil.copy(paths[0], theirs[1])
    for each in (mission, other):
        found = restored(storage, each)
        assert 'cannot be used' in storage.notice
        found.prefill_all()
        assert_same(found.state.arrays(), each.state.arrays())


def test_states_of_another_model_are_not_loaded(place, storage, chain):  # noqa: F811
    mission, paths = chain
    foreign = Checkpoints(place / 'states', 'e' * 64, cipher=storage.cipher)
    assert not foreign.chain(mission.digest)
    for path in paths:  # even under the names that they would have
        name, parent, rest = path.name.split('.', 2)
        new = foreign._name(mission.digest)
        shutil.copy(path, path.with_name(f'{new}.0.{rest}'))
    foreign = Checkpoints(place / 'states', 'e' * 64, cipher=storage.cipher)
    for piece in (piece for link in foreign.chain(mission.digest) for piece in link):
        with pytest.raises(checkpoints.Damaged):
            foreign.read(piece)


@pytest.mark.parametrize('name', [
    '{0}.{0}.24-24.end.safetensors', '{0}.{1}.24-30.end.safetensors', '{0}.0.0-9.safetensors',
    '{0}.{1}.30-24.end.safetensors', 'x.safetensors', '{0}.{1}.-1-4.safetensors',
    '{0}.{1}.00-' + '9' * 99 + '.end.safetensors', 'é'])
def test_files_with_odd_names_do_no_harm(place, storage, chain, name):  # noqa: F811
    mission, paths = chain
    names = [path.name.split('.')[0] for path in paths]
    (place / 'states' / name.format(names[0], names[1])).write_bytes(b'x')
    storage.checkpoints = Checkpoints(place / 'states', mission.fingerprint, cipher=storage.cipher)
    found = restored(storage, mission)
    found.prefill_all()
    assert_same(found.state.arrays(), mission.state.arrays())


def test_forks_and_missions_that_begin_alike_share_files(place, cipher):  # noqa: F811
    store = open_store(place, open_model('lfm2-int4'))
    for name in 'ab':
        tell(store, name, f'Are you {name}?')
        store.save(name)
    head, *rest = {file.name.split('.')[0]: file for file in files_in(place)}.values()
    assert len(files_in(place)) == 3  # the system prompt, and what was said in each
    written = store.written[2]
    store.fork('a', 'c')
    store.save('c')
    assert store.written[2] == written
    tell(store, 'c', 'And?')
    store.save('c')
    assert len(files_in(place)) == 4
    store.delete('a')
    assert len(files_in(place)) == 4  # the fork stands on what was its beginning
    store.delete('b')
    assert len(files_in(place)) == 3
    expected = told(store, 'c')
    close(store)
    store = open_store(place, open_model('lfm2-int4'))
    assert told(store, 'c') == expected and not store.get('c').pending
    store.delete('c')
    assert len(files_in(place)) == 1
    close(store)


def test_what_nobody_needs_is_deleted_and_nothing_else(place, storage, chain):  # noqa: F811
    mission, paths = chain
    other = longer(storage.model, 'What?', mission_id='other')
    saved(storage, other)
    (place / 'states' / 'notes.txt').write_text('mine')
    (place / 'states' / 'x.part').write_text('left by a crash')
    storage.checkpoints = Checkpoints(place / 'states', mission.fingerprint, cipher=storage.cipher)
    storage.collect([mission.digest])
    assert files_in(place) == sorted(paths)
    assert sorted(f.name for f in (place / 'states').iterdir() if f not in paths) == ['notes.txt']
    storage.collect([mission.entries[-2].digest])
    assert files_in(place) == sorted(paths)[:0] + sorted(paths[:-1])
    storage.collect([])
    assert not files_in(place)


def test_a_long_chain_is_written_anew(place, storage, monkeypatch):  # noqa: F811
    monkeypatch.setattr(storage_module, 'MAX_CHAIN_LENGTH', 4)
    mission = longer(storage.model, 'Where?')
    lengths, sizes = [], []
    for number in range(12):
        saved(storage, mission)
        storage.collect([mission.digest])
        lengths.append(len(storage.checkpoints.chain(mission.digest)))
        sizes.append(len(files_in(place)))
        assert_same(restored(storage, mission).state.arrays(), mission.state.arrays())
        ask(mission, f'Go {number}.', max_tokens=3)
        mission.prefill_all()
    assert lengths == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]
    assert max(sizes) < 8


def test_a_checkpoint_costs_what_came_since_the_last(place, storage, chain):  # noqa: F811
    mission, _ = chain
    before = storage.bytes_written[1]
    ask(mission, 'Go.', max_tokens=1)
    mission.prefill_all()
    saved(storage, mission)
    assert storage.bytes_written[1] - before < mission.state.nbytes / 8


def test_a_medium_that_does_not_keep_what_it_takes_is_found(
        place, storage, monkeypatch):  # noqa: F811
    mission = longer(storage.model, 'Where?')
    real = os.read
    with monkeypatch.context() as patch:
        patch.setattr(files.os, 'read', lambda handle, size: bytes(len(real(handle, size))))
        storage.save(mission)
        storage.flush()
    assert 'does not contain' in storage.durability_error
    assert not files_in(place) and not files_in(place, '.part')
    saved_again = storage.save(mission)
    storage.flush()
    assert saved_again is None and not storage.durability_error
    assert_same(restored(storage, mission).state.arrays(), mission.state.arrays())


@pytest.mark.parametrize('call', [1, 2, 3])
def test_a_checkpoint_that_cannot_be_written_leaves_nothing(
        place, storage, monkeypatch, call):  # noqa: F811
    mission = longer(storage.model)
    left, real = [call], checkpoints.write_whole

    def fail(path, data):
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(28, 'No space left on device')
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, 'write_whole', fail)
        storage.save(mission)
        storage.flush()
    if left[0] <= 0:
        assert 'No space left' in storage.durability_error and storage.durable
        assert not files_in(place)
    found = restored(storage, mission)
    found.prefill_all()
    assert_same(found.state.arrays(), mission.state.arrays())
