# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A state can drop tokens from its middle: later keys are turned to where they then are."""
import json
from pathlib import Path
import shutil
import tracemalloc

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.rotary import Rotary
from lfm_ros.engine.runtime.state import State
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import pytest
from support import assert_one_line
from support import assert_same
from support import folder
from support import NAMES
from support import open_model

from graph_folder import edit  # noqa: I100

RANDOM = np.random.default_rng(7)
IDS = [int(i) for i in RANDOM.integers(16, 270, 512)]
FLOAT = [n for n in NAMES if n != 'lfm2-int8-state'] + ['difficult/lfm2-fp16-mha']
START, COUNT, END = 9, 70, 200  # tokens [9, 79) of 200 are dropped
CONFIG = {'model_type': 'lfm2', 'rope_theta': 1e4}


def opened(name):
    return open_model(name, context_length=256)  # phi turns keys in another way beyond


@pytest.fixture(params=FLOAT)
def model(request):
    return opened(request.param)


def read(model, ids, state=None):
    """Read ids in chunks and return the state."""
    state = state or model.new_state()
    for chunk in model.chunks(ids):
        model.runner.run(state, chunk)
    return state


def arrays(state):
    return {name: array.copy() for name, array in state.arrays().items()}


def slid(model, start=START, count=COUNT):
    state = read(model, IDS[:END])
    state.slide(start, count, model.rotary.cos_sin)
    return state


def is_half(model):
    return any(t.dtype == np.float16 for t in model.signature.states)


def assert_close(model, found, expected):
    most = (1e-2 if is_half(model) else 1e-4) * max(1, np.abs(expected).max())
    np.testing.assert_allclose(found.astype(np.float32), expected, rtol=0, atol=most)


def refusal(model):
    """Return the sentence in which a model refuses to turn keys."""
    with pytest.raises(LfmError) as caught:
        model.rotary
    assert caught.value.code == ErrorCode.UNSUPPORTED
    assert_one_line(caught.value.message, 'missions.overflow')
    return caught.value.message


def with_config(name, target, without=(), **values):
    """Open a copy of a fixture with other settings in its config.json."""
    shutil.copytree(folder(name), target)
    path = target / 'config.json'
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in without}))
    return Model(target, ModelOptions(threads=1, context_length=256))


def rotary(**config):
    return Rotary.read(ModelFolder(Path('m'), Path('m/model.onnx'), config), 8, 4096)


def test_keys_turned_there_and_back_are_as_before(model):
    for name, keys in read(model, IDS[:40]).arrays().items():
        if name.endswith('.key'):
            away = model.rotary.rotate(keys, -33)
            assert away.dtype == keys.dtype and not np.allclose(away, keys, atol=0.1)
            assert_close(model, model.rotary.rotate(away, 33), keys)


@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_keys_are_turned_alike_together_and_one_by_one(dtype):
    keys = RANDOM.normal(size=(1, 3, 50, 8)).astype(dtype)
    together = rotary(**CONFIG).rotate(keys, -1234)
    for head in range(3):
        for row in range(50):
            alone = rotary(**CONFIG).rotate(keys[:, head:head + 1, row:row + 1], -1234)
            assert np.array_equal(alone[0, 0, 0], together[0, head, row])


@pytest.mark.usefixtures('shared')
def test_keys_that_slid_are_those_of_tokens_read_there(model):
    # True for the first attention layer, behind what a convolution saw of the dropped tokens;
    # later layers have read from them.
    first = next(t.layer for t in model.signature.key_value)
    behind = START + sum(t.shape[2] for t in model.signature.conv if t.layer < first)
    found = slid(model).arrays()
    expected = read(model, IDS[:START] + IDS[START + COUNT:END]).arrays()
    assert behind < START + 20
    for part in ('key', 'value'):
        name = f'past_key_values.{first}.{part}'
        assert found[name].shape == expected[name].shape
        assert_close(model, found[name][:, :, behind:], expected[name][:, :, behind:])


def test_shared_and_growing_states_slide_to_the_same_numbers(model):
    if not model.runner.shared:
        pytest.skip('this graph cannot append in place')
    growing = State(model.signature, False, model.runner.limit)
    state = read(model, IDS[:END])
    growing.load(state.arrays(), END)
    for each in (state, growing):
        each.slide(START, COUNT, model.rotary.cos_sin)
    assert_same(arrays(state), arrays(growing))
    assert all(buffer.rows == END - COUNT for buffer in growing.key_value)


@pytest.mark.usefixtures('shared')
def test_windows_the_head_and_values_are_moved_bit_for_bit(model):
    before = arrays(read(model, IDS[:END]))
    after = slid(model).arrays()
    for tensor in model.signature.states:
        old, new = before[tensor.name], after[tensor.name]
        if not tensor.grows:
            assert np.array_equal(new, old)
            continue
        assert np.array_equal(new[:, :, :START], old[:, :, :START])
        if tensor.kind == 'value':
            assert np.array_equal(new[:, :, START:], old[:, :, START + COUNT:])


@pytest.mark.usefixtures('shared')
def test_generation_goes_on_after_every_slide(model):
    state = read(model, IDS[:model.context_length])
    room = state.capacity
    for _ in range(3):
        state.slide(START, COUNT, model.rotary.cos_sin)
        assert state.position == model.context_length - COUNT
        if state.shared:
            assert state.capacity == room
        for token in IDS[:COUNT]:
            logits = model.runner.run(state, [token])
            assert np.isfinite(logits).all()
        assert state.position == model.context_length


@pytest.mark.usefixtures('shared')
def test_two_slides_are_close_to_one(model):
    twice = slid(model, count=30)
    twice.slide(START, COUNT - 30, model.rotary.cos_sin)
    expected = slid(model).arrays()
    for name, found in twice.arrays().items():
        assert_close(model, found, expected[name])


@pytest.mark.usefixtures('shared')
def test_a_mark_behind_the_cut_moves_along(model):
    state = read(model, IDS[:150])
    mark = state.mark()
    read(model, IDS[150:END], state)
    state.slide(START, COUNT, model.rotary.cos_sin)
    state.restore(mark.moved(COUNT))
    expected = read(model, IDS[:150])
    expected.slide(START, COUNT, model.rotary.cos_sin)
    assert state.position == expected.position == 150 - COUNT
    assert_same(arrays(state), arrays(expected))
    assert np.array_equal(model.runner.run(state, [99]).copy(), model.runner.run(expected, [99]))


@pytest.mark.usefixtures('shared')
@pytest.mark.parametrize('start, count', [(-1, 5), (0, 0), (3, -2), (0, 21), (15, 6), (20, 1)])
def test_a_range_outside_of_the_state_is_refused_and_changes_nothing(model, start, count):
    state = read(model, IDS[:20])
    before = arrays(state)
    with pytest.raises(ValueError):
        state.slide(start, count, model.rotary.cos_sin)
    assert state.position == 20
    assert_same(arrays(state), before)


@pytest.mark.usefixtures('shared')
def test_the_end_and_the_whole_can_be_dropped_too(model):
    state = read(model, IDS[:20])
    before = arrays(state)
    state.slide(15, 5, model.rotary.cos_sin)
    for name, array in state.arrays().items():
        assert np.array_equal(array, before[name][:, :, :15])
    state.slide(0, 15, model.rotary.cos_sin)
    assert state.position == 0


def test_a_long_state_slides_in_pieces_and_takes_no_second_one():
    model = opened('qwen3')
    rotary = model.rotary
    state = State(model.signature, True, 20000)
    state.set_position_unchecked(20000)
    for buffer in state.key_value:
        buffer.write(0, RANDOM.normal(size=buffer.shape))
    before = arrays(state)
    tracemalloc.start()
    try:
        state.slide(START, 5000, rotary.cos_sin)
        assert tracemalloc.get_traced_memory()[1] < state.nbytes / 50
    finally:
        tracemalloc.stop()
    for name, rows in state.arrays().items():
        moved = before[name][:, :, START + 5000:]
        expected = rotary.rotate(moved, -5000) if name.endswith('.key') else moved
        assert np.array_equal(rows[:, :, START:], expected)


def test_a_state_in_int8_does_not_slide():
    assert 'int8' in refusal(opened('lfm2-int8-state'))


def test_a_model_with_another_table_beyond_some_length_slides_only_below_it():
    assert 'model.context_length to 256' in refusal(open_model('phi', context_length=257))


WRONG = {
    'another theta': ('lfm2', {'rope_parameters': {'rope_theta': 1.2e6}}),
    'another theta, attention first': ('lfm2-odd', {'rope_parameters': {'rope_theta': 1e6}}),
    'scaling left out': ('llama', {'rope_parameters': {'rope_theta': 5e5}}),
    'whole heads turned': ('phi', {'partial_rotary_factor': 1.0, 'rope_parameters': {
        'rope_theta': 1e4}}),
    'unknown type': ('qwen3', {'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 1e6}}),
    'no theta': ('qwen3', {'rope_parameters': None}),
    'a theta for each kind of layer': ('lfm2-moe', {'model_type': 'lfm3', 'rope_parameters': {
        'full_attention': {'rope_theta': 1e6}}}),
    'no number': ('lfm2', {'rope_parameters': {'rope_theta': 'large'}}),
    'no object': ('lfm2', {'rope_parameters': [1e6]}),
    'zero': ('lfm2', {'rope_parameters': {'rope_theta': 1e6, 'rope_type': 'linear', 'factor': 0}}),
    'too few factors': ('phi', {'rope_parameters': {
        'rope_type': 'longrope', 'rope_theta': 1e4, 'short_factor': [1.0, 1.0]}}),
}


@pytest.mark.parametrize('case', WRONG)
def test_settings_that_are_not_those_of_the_graph_are_refused(case, tmp_path):
    name, values = WRONG[case]
    assert 'config.json' in refusal(with_config(name, tmp_path / 'm', **values)) \
        or case == 'unknown type'


def in_transformers_4(name):
    """Return the settings of a fixture as transformers 4 wrote them, none of them twice."""
    config = json.loads((folder(name) / 'config.json').read_text())
    rope = {k: v for k, v in config['rope_parameters'].items() if k not in config}
    return {'rope_theta': rope.pop('rope_theta'), 'rope_scaling': rope}


@pytest.mark.parametrize('name', ['llama', 'phi'])
def test_settings_of_transformers_4_are_read_too(name, tmp_path):
    model = with_config(name, tmp_path / 'm', ['rope_parameters'], **in_transformers_4(name))
    assert np.array_equal(model.rotary.frequencies, opened(name).rotary.frequencies)


def test_lfm2_without_settings_has_the_theta_of_most_models(tmp_path):
    model = with_config('lfm2', tmp_path / 'm')
    (tmp_path / 'm' / 'config.json').unlink()
    model = Model(tmp_path / 'm', model.options)
    assert np.array_equal(model.rotary.frequencies, opened('lfm2').rotary.frequencies)


def test_linear_scaling_turns_more_slowly():
    keys = RANDOM.normal(size=(1, 2, 5, 8)).astype(np.float32)
    scaled = rotary(**CONFIG, rope_scaling={'type': 'linear', 'factor': 2.0})
    np.testing.assert_allclose(scaled.rotate(keys, 8), rotary(**CONFIG).rotate(keys, 4), atol=1e-6)


def unturned(node):
    next(a for a in node.attribute if a.name == 'do_rotary').i = 0
    node.input[7] = node.input[8] = ''


def turned_otherwise(node):
    node.input[7], node.input[8] = node.input[8], node.input[7]


def changed(layers, change, target):
    """Copy a fixture with other attention in these of its attention layers, 0 and 1."""
    def change_graph(model):
        nodes = [n for n in model.graph.node if n.op_type == 'GroupQueryAttention']
        for layer in layers:
            change(nodes[layer])
    return edit(folder('lfm2-past-conv'), target, change_graph)


@pytest.mark.parametrize('change', [unturned, turned_otherwise])
@pytest.mark.parametrize('layers', [[0, 1], [0], [1]], ids=['all', 'first', 'last'])
def test_a_graph_that_does_not_turn_the_keys_it_stores_is_refused(layers, change, tmp_path):
    path = changed(layers, change, tmp_path / 'm')
    assert 'graph does not rotate' in refusal(Model(path, ModelOptions(threads=1)))


def test_keys_that_are_never_turned_prove_nothing(tmp_path):
    model = Model(changed([0, 1], unturned, tmp_path / 'm'), ModelOptions(threads=1))
    model.folder.config['partial_rotary_factor'] = 0.01
    assert 'graph does not rotate' in refusal(model)
