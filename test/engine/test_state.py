# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A state can be copied, marked, restored, saved and loaded, and survives a run that fails."""
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import pytest
from support import assert_same
from support import open_model

NAMES = ['lfm2', 'lfm2-past-conv-odd', 'lfm2-int8-state', 'lfm2-fp16', 'qwen3']
RANDOM = np.random.default_rng(1)
IDS = [int(i) for i in RANDOM.integers(16, 270, 400)]


@pytest.fixture(params=NAMES)
def model(request):
    return open_model(request.param)


def read(model, count, start=0, state=None):
    """Read some of the ids in one call and return the state."""
    state = state or model.new_state()
    model.runner.run(state, IDS[start:start + count])
    return state


def step(model, state):
    """Read one more token and return its logits."""
    return model.runner.run(state, IDS[state.position:state.position + 1])[0].copy()


def arrays(state):
    return {name: array.copy() for name, array in state.arrays().items()}


@pytest.mark.usefixtures('shared')
def test_a_copy_goes_on_like_the_original_and_does_not_disturb_it(model):
    state = read(model, 20)
    copy = state.copy()
    assert_same(arrays(copy), arrays(state))
    for _ in range(3):
        model.runner.run(copy, [99])
    expected = read(model, 20)
    for _ in range(3):
        assert np.array_equal(step(model, state), step(model, expected))


@pytest.mark.usefixtures('shared')
def test_restoring_a_mark_brings_the_state_back_exactly(model):
    state = read(model, 20)
    before, mark = arrays(state), state.mark()
    expected = [step(model, state) for _ in range(4)]
    state.restore(mark)
    assert_same(arrays(state), before)
    for logits in expected:
        assert np.array_equal(step(model, state), logits)
    state.restore(mark)  # a mark is not used up
    assert_same(arrays(state), before)


@pytest.mark.usefixtures('shared')
def test_a_mark_holds_in_either_set_of_windows(model):
    state = read(model, 5)
    for _ in range(4):
        mark, before = state.mark(), arrays(state)
        step(model, state)
        state.restore(mark)
        assert_same(arrays(state), before)
        step(model, state)


def test_a_mark_ahead_of_the_state_is_refused(model):
    state = read(model, 8)
    early = state.mark()
    step(model, state)
    late = state.mark()
    state.restore(early)
    with pytest.raises(ValueError):
        state.restore(late)


@pytest.mark.usefixtures('shared')
def test_saving_and_loading_is_exact(model):
    state = read(model, 30)
    saved = {name: np.array(array) for name, array in state.arrays().items()}
    other = read(model, 7, start=100)
    for _ in range(2):  # what was prepared for steps with the old arrays must not be used again
        step(model, other)
    other.load(saved, 30)
    assert other.position == 30
    assert_same(arrays(other), saved)
    for _ in range(3):
        assert np.array_equal(step(model, other), step(model, state))


@pytest.mark.parametrize('spoil', ['missing', 'shape', 'dtype', 'position'])
def test_arrays_of_another_model_are_refused_and_change_nothing(model, spoil):
    saved = {name: np.array(array) for name, array in read(model, 9).arrays().items()}
    name = sorted(saved)[-1]
    position = 9
    if spoil == 'missing':
        del saved[name]
    elif spoil == 'shape':
        saved[name] = saved[name][:, :, :-1]
    elif spoil == 'dtype':
        saved[name] = saved[name].astype(np.float64)
    else:
        position = 10
    state = read(model, 4)
    before = arrays(state)
    with pytest.raises(ValueError):
        state.load(saved, position)
    assert state.position == 4
    assert_same(arrays(state), before)


def test_a_state_longer_than_the_context_is_refused_and_changes_nothing():
    saved = {n: np.array(a) for n, a in read(open_model(), 40).arrays().items()}
    small = open_model(context_length=32)
    state = read(small, 4)
    before = arrays(state)
    with pytest.raises(ValueError):
        state.load(saved, 40)
    assert state.position == 4
    assert_same(arrays(state), before)


@pytest.mark.parametrize('start', [-1, -3, 0])
def test_growing_over_a_block_does_not_change_the_logits(model, start):
    block = model.new_state().memory.block
    start += block
    state = read(model, start)
    size = state.nbytes
    found = [step(model, state) for _ in range(4)]
    if model.runner.shared:
        assert state.capacity > block and state.nbytes > size
    expected = model.new_state()
    expected.reserve(start + 100)
    model.runner.run(expected, IDS[:start])
    for logits in found:
        assert np.array_equal(step(model, expected), logits)


@pytest.mark.usefixtures('shared')
def test_nbytes_counts_every_buffer(model):
    state = model.new_state()
    for count in (3, 2, 260):
        read(model, count, state.position, state)
        held = [*state.conv_state, *state.next_conv_state, *state.key_value]
        assert state.nbytes == sum(buffer.nbytes for buffer in held)
        per_token = sum(t.row_bytes for t in model.signature.key_value)
        assert state.nbytes >= per_token * state.position
    assert state.mark().nbytes == sum(window.nbytes for window in state.conv_state)


@pytest.mark.usefixtures('shared')
def test_a_run_that_fails_leaves_the_state_as_it_was(model):
    state = read(model, 20)
    before = arrays(state)
    for ids in ([5, model.vocabulary + 3], [-model.vocabulary - 1]):
        with pytest.raises(LfmError) as caught:
            model.runner.run(state, ids)
        assert caught.value.code == ErrorCode.MODEL_RUN_FAILED
        assert_same(arrays(state), before)
    assert np.array_equal(step(model, state), step(model, read(model, 20)))


def test_a_run_beyond_the_context_is_refused_and_changes_nothing(model):
    state = read(model, 20)
    before = arrays(state)
    with pytest.raises(LfmError) as caught:
        model.runner.run(state, [1] * (model.context_length - 19))
    assert caught.value.code == ErrorCode.CONTEXT_FULL
    assert_same(arrays(state), before)
    model.runner.run(state, [1] * (model.context_length - 20))
    assert state.position == model.context_length


@pytest.mark.usefixtures('shared')
def test_an_interrupted_run_leaves_the_state_as_it_was(model):
    state = read(model, 20)
    before = arrays(state)
    flag = CancelToken()
    flag.set()
    with pytest.raises(RunCancelled):
        model.runner.run(state, [1, 2], cancel_token=flag)
    with pytest.raises(RunCancelled):
        run_interrupted(model, state)
    assert_same(arrays(state), before)
    assert np.array_equal(step(model, state), step(model, read(model, 20)))


def run_interrupted(model, state):
    """Run two tokens, interrupted when the run is prepared and just before it begins."""
    flag, prepared = CancelToken(), model.runner._prepared_runs
    prepare = prepared.get

    def prepare_late(*arguments):
        flag.set()
        return prepare(*arguments)
    prepared.get = prepare_late
    try:
        return model.runner.run(state, [1, 2], cancel_token=flag)
    finally:
        del prepared.get


class Onlooker(OrtRuns):
    """Notes of each call whether it gives memory back."""

    def __init__(self):
        super().__init__()
        self.shrunk = []

    def run(self, work, cancel_token=None, what='model', shrink=False):
        self.shrunk.append(shrink)
        return super().run(work, cancel_token, what, shrink)


def test_memory_of_a_prompt_is_given_back_by_the_first_step_behind_it(model):
    runner = model.runner
    runner._ort_runs, runner._shrink = Onlooker(), True
    state = model.new_state()
    for count in (40, 40, 2, 2, 3, 40, 2):
        runner.run(state, [99] * count)
    assert runner._ort_runs.shrunk == [False, False, True, False, False, False, True]
