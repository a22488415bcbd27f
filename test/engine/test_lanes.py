# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""States that decode in lanes of a device are as if each were alone in its own memory."""
from __future__ import annotations

import gc
import random

import device_memory
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.runtime.ort_runs import run_options
from lfm_ros.prepare.pipeline import edit_losslessly
import numpy as np
from prepare_support import edited
import pytest
from support import assert_same
from support import DEFAULT

LANES = 2


@pytest.fixture(scope='module', params=[DEFAULT, 'lfm2-past-conv-fp16', 'qwen3'])
def model(request, tmp_path_factory):
    """Return a model whose states are on a device, with two lanes."""
    graph, _ = edited(request.param, tmp_path_factory.mktemp('model'),
                      lambda g: edit_losslessly(g, lanes=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(device_memory.VARIABLE, device_memory.DEVICE_KIND)
        device_memory.install(patch.setattr)
        yield device_memory.open_model(
            graph.parent, ModelOptions(threads=1, max_batch_size=LANES))


def begun(model, *prompts):
    """Return a state for each prompt."""
    states = [model.new_state() for _ in prompts]
    for state, prompt in zip(states, prompts):
        model.runner.run(state, prompt)
    return states


def plain(model, state, ids):
    """Return logits of these tokens, each read alone in memory of the state's own."""
    runner, known = model.runner, model.runner.capabilities
    runner.use(known._replace(captured=False))
    try:
        return [runner.run(state, [token]).copy() for token in ids]
    finally:
        runner.use(known)


def test_it_is_proved_that_steps_in_lanes_give_the_same_bits(model):
    known = model.runner.capabilities
    assert known.captured and known.rows_independent and model.runner.max_batch_size == LANES


def test_a_state_that_is_driven_out_of_its_lane_goes_on_with_the_same_logits(model):
    prompts = [1, 2, 3], [4, 5], [6], [7, 8, 9, 10]
    states, twins = begun(model, *prompts), begun(model, *prompts)
    turns = [0, 1, 2, 3, 3, 1, 0, 0, 2, 1, 3, 0]
    for token, place in enumerate(turns, 20):
        expected, = plain(model, twins[place], [token])
        assert np.array_equal(model.runner.run(states[place], [token]), expected)
    for state, twin in zip(states, twins):
        assert_same(state.arrays(), twin.arrays())


def test_batches_and_single_steps_in_any_order_leave_every_state_as_if_it_were_alone(model):
    rng = random.Random(7)
    prompts = [[rng.randrange(3, 250) for _ in range(n)] for n in (3, 9, 5)]
    states, twins = begun(model, *prompts), begun(model, *prompts)
    marks = [state.mark() for state in states]
    for _ in range(60):
        choice, token = rng.random(), rng.randrange(3, 250)
        a, b = rng.sample(range(3), 2)
        if max(state.position for state in states) > 60 or choice < 0.05:
            for some in (states, twins):
                some[a].restore(marks[a])
                some[b].restore(marks[b])
        elif choice < 0.3:
            model.runner.run(states[a], [token])
            plain(model, twins[a], [token])
        elif choice < 0.4:
            for some in (states, twins):
                model.runner.run(some[a], [token, 9, 11])
        elif choice < 0.5 and model.runner.can_rollback:
            for some in (states, twins):
                model.runner.run(some[a], [token, 9, 11], every=True)
                model.runner.rollback(some[a], 2)
        elif choice < 0.6:
            states[a] = states[a].copy()
        else:
            model.runner.decode_batch([states[a], states[b]], [token, token + 1])
            plain(model, twins[a], [token])
            plain(model, twins[b], [token + 1])
    for state, twin in zip(states, twins):
        assert_same(state.arrays(), twin.arrays())


def test_nothing_is_kept_of_a_run_that_is_rolled_back_after_others_ran(model):
    if not model.runner.can_rollback:
        pytest.skip('this graph cannot be rolled back')
    runner = model.runner
    first, second = begun(model, [1, 2, 3], [4, 5])
    runner.decode_batch([first, second], [6, 7])
    before = {name: array.copy() for name, array in first.arrays().items()}
    third, = begun(model, [8])
    runner.run(first, [9, 10, 11], every=True)
    last = runner.keep_last_run(first)
    runner.decode_batch([second, third], [12, 13])
    runner.decode_batch([second, third], [14, 15])
    runner.rollback(first, 0, last)
    assert_same(first.arrays(), before)


def test_a_state_may_fill_its_lane_while_others_go_on(model):
    limit = model.context_length
    full, other = begun(model, [5] * (limit - 1), [1, 2])
    for token in (3, 4):
        model.runner.run(other, [token])
    model.runner.run(full, [6])
    before = {name: array.copy() for name, array in full.arrays().items()}
    third, = begun(model, [7])
    model.runner.decode_batch([other, third], [8, 9])
    assert full.position == limit
    assert_same(full.arrays(), before)


def test_the_lane_of_a_state_that_is_gone_is_free_again(model):
    states = begun(model, [1], [2], [3])
    for state in states[:2]:
        model.runner.run(state, [4])
    assert all(state.key_value[0].shape[2] == model.context_length for state in states[:2])
    del states[0], state
    gc.collect()
    model.runner.run(states[1], [4])
    assert states[0].key_value[0].shape[2] == model.context_length, 'the other one had to go'


def test_a_lane_counts_as_what_its_state_would_take_elsewhere(model):
    state, = begun(model, [1, 2, 3])
    before = state.nbytes
    model.runner.run(state, [4])
    assert state.nbytes == before
    state.reserve(300)
    assert state.nbytes == state.nbytes_at(300) > before


def test_only_runs_that_are_to_be_captured_have_a_number():
    assert run_options().get_run_config_entry('gpu_graph_id') == '-1'
    assert run_options(3).get_run_config_entry('gpu_graph_id') == '3'


class Full(Exception):
    """The memory of the device is full."""


@pytest.fixture
def scarce(model, monkeypatch):
    """Have the memory of the device run out after so many allocations; negative: never."""
    left = [-1]
    allocate = model.memory.allocate

    def counted(shape):
        if left[0] == 0:
            raise Full
        left[0] -= 1
        return allocate(shape)

    monkeypatch.setattr(model.memory, 'allocate', counted)
    return left


OPERATIONS = {
    'leave its lane': lambda state, _: state.leave_lane(),
    'be loaded': lambda state, twin: state.load(twin.arrays(), twin.position),
    'be copied': lambda state, _: state.copy(),
    'grow': lambda state, _: state.reserve(500),
    'go to the host and back': lambda state, _: (state.move_to(HOST), state.move_to(MEMORY[0])),
}
MEMORY = [HOST]


@pytest.mark.parametrize('operation', OPERATIONS)
def test_memory_that_runs_out_at_any_moment_leaves_a_state_whole(model, scarce, operation):
    MEMORY[0] = model.memory
    act, failures = OPERATIONS[operation], 0
    for free in range(200):
        state, twin = begun(model, [1, 2, 3], [1, 2, 3])
        if operation in ('leave its lane', 'be loaded'):
            model.runner.run(state, [4])
        else:
            plain(model, state, [4])
        plain(model, twin, [4])
        scarce[0] = free
        try:
            act(state, twin)
        except Full:
            failures += 1
        else:
            free = -1
        scarce[0] = -1
        if state.memory is HOST:
            state.move_to(model.memory)
        assert_same(state.arrays(), twin.arrays())
        assert np.array_equal(model.runner.run(state, [5]), plain(model, twin, [5])[0])
        if free < 0:
            break
    assert free < 0 and (failures or operation == 'go to the host and back')
