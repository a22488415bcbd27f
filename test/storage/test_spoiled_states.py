# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""States on a disk that somebody has made up: the log is the truth, and it is read again."""
import json

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.encryption import Damaged
import numpy as np
import pytest
from safetensors.numpy import load
from safetensors.numpy import save
from storage_support import close
from storage_support import files_in
from storage_support import open_store
from storage_support import tell
from storage_support import told
from storage_support import Twins
from support import begin
from support import check_invariants
from support import GREEDY
from support import open_model

MODELS = ['lfm2-int4', 'lfm2-fp16', 'llama']
LARGE = 3e38  # finite in float32, and nothing that is computed with it is


def forge(folder, model, value, kinds=('key', 'value', 'conv')):
    """Fill all states in a folder with a number, checksums included."""
    checkpoints = Checkpoints(folder / 'states', model.folder.fingerprint)
    names = {t.name: t.kind for t in model.signature.states}
    count = 0
    for file in files_in(folder):
        name, parent, rows = file.name.split('.')[:3]
        start, end = map(int, rows.split('-'))
        arrays = load(file.read_bytes())
        for key, array in arrays.items():
            if names[key] in kinds and array.dtype.kind == 'f':
                with np.errstate(over='ignore'):
                    array[...] = value
                count += 1
        file.write_bytes(save(arrays, checkpoints._metadata(name, parent, start, end, arrays)))
    assert count


@pytest.fixture(params=MODELS)
def twins(request, tmp_path):
    """Return two stores to which the same was told; only the first was closed."""
    found = Twins(tmp_path / 'place', request.param)
    for prompt in ('Where is the dock?', 'Go there.'):
        found.tell('m', prompt)
    yield found
    found.close()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_a_state_of_no_numbers_is_not_loaded_and_its_mission_is_read_again(twins, caplog, value):
    twins.reopen(spoil=lambda folder: forge(folder, twins.model, value))
    twins.tell('m', 'What now?')
    assert caplog.text.count('NaN or infinite numbers') == 1
    caplog.clear()
    twins.reopen()
    twins.tell('m', 'And then?')
    twins.check()
    assert not caplog.text


def test_a_state_with_which_a_model_gives_no_numbers_is_dropped_once(twins, caplog):
    twins.reopen(spoil=lambda folder: forge(folder, twins.model, LARGE))
    twins.tell('m', 'What now?')
    assert caplog.text.count('recomputed') == 1, caplog.text
    twins.tell('m', 'And then?')
    twins.check()
    caplog.clear()
    twins.reopen()
    twins.tell('m', 'And then?')
    twins.check()
    assert not caplog.text


@pytest.mark.parametrize('kinds', [('key', 'value'), ('value',), ('conv',)])
def test_it_does_not_matter_which_part_of_a_state_is_forged(tmp_path, kinds):
    twins = Twins(tmp_path / 'place')
    twins.tell('m', 'Where is the dock?')
    twins.reopen(spoil=lambda folder: forge(folder, twins.model, LARGE, kinds))
    try:
        twins.tell('m', 'What now?')
    finally:
        twins.close()


def test_a_turn_may_be_undone_anywhere_while_a_mission_is_read_again(tmp_path):
    place = tmp_path / 'place'
    model = open_model('lfm2-int4', prefill_chunk=16)
    store, twin = open_store(place, model), open_store(tmp_path / 'twin', model)
    for each in (store, twin):
        tell(each, 'm', 'What do you see on the table? ' * 3)
        tell(each, 'm', 'And?')
    close(store)
    expected, prompt = tell(twin, 'm', 'Go on.'), 'Go on.'
    forge(place, model, LARGE)
    spoiled = {file: file.read_bytes() for file in files_in(place)}
    store = open_store(place, model)
    for number in range(40):
        store.evict('m')
        for file in files_in(place):
            file.unlink()
        for file, data in spoiled.items():
            file.write_bytes(data)
        store.storage._open_checkpoints()
        mission = store.get('m')
        assert mission.state.position == len(mission.ids), 'the state came from the disk'
        turn = begin(mission, prompt, GREEDY, Limits(4))
        steps = turn.steps()
        ended = sum(1 for _ in zip(range(number + 1), steps)) <= number
        steps.close()
        if ended:
            break
        check_invariants(mission)
        assert len(mission.turns) == 2
        assert tell(store, 'm', prompt) == expected
        store.rewind('m', 2)
    assert number > 8 and ended
    assert turn.cached_tokens == 0 < mission.head_tokens < turn.prompt_tokens
    close(store)
    close(twin)


def test_a_mission_whose_oldest_turns_left_is_read_again_as_far_as_it_is_there(tmp_path, caplog):
    place = tmp_path / 'place'
    model = open_model('lfm2-int4', prefill_chunk=16, context_length=128)
    store = open_store(place, model, overflow='slide')
    for number in range(12):
        tell(store, 'm', f'What do you see on the table, number {number}?')
    assert store.get('m').slid
    digests = told(store, 'm')
    close(store)
    forge(place, model, LARGE)
    store = open_store(place, model, overflow='slide')
    turn = begin(store.get('m'), 'Go on.', GREEDY, Limits(4))
    steps = turn.steps()
    for _ in range(2):
        next(steps)
    steps.close()  # undone while it is read again
    check_invariants(store.get('m'))
    assert tell(store, 'm', 'Go on.')
    assert 'recomputed' in caplog.text
    check_invariants(store.get('m'))
    texts = [turn.prompt for turn in store.get('m').turns]
    assert texts[-1] == 'Go on.' and len(texts) >= len(digests) - 4
    close(store)


def test_a_state_that_is_proved_is_kept_when_a_later_call_gives_no_numbers(tmp_path, monkeypatch):
    model = open_model('lfm2-int4')
    store = open_store(tmp_path / 'place', model)
    tell(store, 'm', 'Where?')
    close(store)
    store = open_store(tmp_path / 'place', model)
    tell(store, 'm', 'And?')
    mission = store.get('m')
    drops = []
    monkeypatch.setattr(Mission, '_reset_state', lambda self: drops.append(self))
    real = model.runner.run

    def broken(*arguments, **options):
        real(*arguments, **options)
        return np.full((1, model.vocabulary), np.nan, np.float32)

    with monkeypatch.context() as patch:
        patch.setattr(model.runner, 'run', broken)
        with pytest.raises(Exception, match='NaN or infinite'):
            tell(store, 'm', 'Go on.')
    assert not drops and mission.turn_count == 2
    close(store)


def test_a_file_of_a_state_says_nothing_absurd_of_itself(tmp_path):
    model = open_model('lfm2-int4')
    store = open_store(tmp_path / 'place', model)
    tell(store, 'm', 'Where?')
    close(store)
    checkpoints = Checkpoints(tmp_path / 'place' / 'states', model.folder.fingerprint)
    piece = next(iter(checkpoints._segments.values()))[0]
    data = piece.path.read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], 'little')])
    names = [name for name in header if name != '__metadata__']
    start, end = header[names[0]]['data_offsets']

    def packed(changes, size=None):
        text = json.dumps({**header, **changes}).encode()
        return (len(text) if size is None else size).to_bytes(8, 'little') + text + \
            data[8 + int.from_bytes(data[:8], 'little'):]

    def moved(*offsets):
        return {names[0]: {**header[names[0]], 'data_offsets': offsets}}

    for spoiled in (packed({}, 1 << 63), packed({}, 1 << 30), packed({}, 0), data[:8],
                    packed(moved(0, 1 << 62)), packed(moved(end, start)),
                    packed(moved(*header[names[1]]['data_offsets'])),
                    packed({names[0]: {**header[names[0]], 'shape': [1 << 40, 1 << 40]}}),
                    b'[' * 100_000, (1 << 20).to_bytes(8, 'little') + b'[' * (1 << 20)):
        piece.path.write_bytes(spoiled)
        with pytest.raises(Damaged):
            checkpoints.read(piece)
    with open(piece.path, 'wb') as file:
        file.truncate(1 << 40)
    with pytest.raises(Damaged):
        checkpoints.read(piece)
