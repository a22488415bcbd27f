# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Only a buffer writes where keys, values and windows live, be it on the host or on a device."""
from __future__ import annotations

import re
import runpy

import device_memory
from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.runtime.buffers import rotate
import numpy as np
import pytest
from support import open_model
from support import ROOT

TYPES = [np.float32, np.float16, np.int8, np.uint8]
ROWS = np.arange(2 * 6 * 4).reshape(1, 2, 6, 4)
COLUMNS = np.arange(5 * 3).reshape(1, 5, 3)


@pytest.fixture(params=['host', 'device'])
def memory(request):
    return HOST if request.param == 'host' else device_memory.new_memory()


@pytest.fixture(params=TYPES, ids=lambda t: np.dtype(t).name)
def dtype(request):
    return request.param


def filled(memory, rows, dtype=np.float32):
    buffer = memory.buffer(rows.shape, dtype)
    buffer.write(0, rows.astype(dtype))
    return buffer


def test_rows_that_were_read_cannot_be_written_through(memory):
    for array in (filled(memory, ROWS).read(1, 2), filled(memory, ROWS).read(),
                  filled(memory, COLUMNS).read(3)):
        with pytest.raises(ValueError, match='read-only'):
            array[...] = 0


def test_arrays_of_a_state_cannot_be_written_through():
    state = open_model().new_state()
    open_model().runner.run(state, [1, 2, 3])
    for array in (*state.arrays().values(), *state.rows(1).values()):
        with pytest.raises(ValueError, match='read-only'):
            array[...] = 0


def test_what_is_read_again_shows_what_was_written_between(memory, dtype):
    buffer = memory.buffer(ROWS.shape, dtype)
    assert not buffer.read().any() and buffer.rows == 6
    assert buffer.nbytes == ROWS.astype(dtype).nbytes and buffer.dtype == dtype
    buffer.write(2, ROWS[:, :, :3].astype(dtype))
    assert np.array_equal(buffer.read(2, 5), ROWS[:, :, :3])
    assert not buffer.read(0, 2).any() and not buffer.read(5).any()
    assert buffer.read(4, 4).shape == (1, 2, 0, 4)


def test_a_tensor_of_three_axes_has_its_columns_as_rows(memory, dtype):
    buffer = filled(memory, COLUMNS, dtype)
    assert np.array_equal(buffer.read(1, 3), COLUMNS[:, :, 1:])
    buffer.write(2, COLUMNS[:, :, :1].astype(dtype))
    assert np.array_equal(buffer.read()[0, :, 2], COLUMNS[0, :, 0])
    other = memory.buffer((1, 5, 7), dtype)
    other.copy_rows(3, buffer, 0, 2)
    assert np.array_equal(other.read(3, 5), COLUMNS[:, :, :2]) and not other.read(0, 3).any()


def test_a_copy_and_a_resized_buffer_are_independent(memory, dtype):
    buffer = filled(memory, ROWS, dtype)
    other, larger, none = buffer.copy(), buffer.resized(9, 4), buffer.resized(0, 0)
    buffer.fill(7)
    assert np.all(buffer.read() == 7) and none.rows == 0
    assert np.array_equal(other.read(), ROWS)
    assert np.array_equal(larger.read(0, 4), ROWS[:, :, :4]) and not larger.read(4).any()


def test_rows_are_copied_between_buffers_and_within_one(memory, dtype):
    buffer = memory.buffer((1, 2, 4, 4), dtype)
    buffer.copy_rows(1, filled(memory, ROWS, dtype), 3, 2)
    assert np.array_equal(buffer.read(1, 3), ROWS[:, :, 3:5])
    buffer.copy_rows(0, buffer, 1, 3)
    assert np.array_equal(buffer.read(0, 2), ROWS[:, :, 3:5])


def test_what_is_behind_can_be_wiped(memory):
    buffer = filled(memory, ROWS)
    buffer.fill(np.nan)
    buffer.wipe(4)
    assert np.isnan(buffer.read(0, 4)).all() and not buffer.read(4).any()
    buffer.wipe(6)


@pytest.mark.parametrize('step', [1, 2, 100])
def test_a_shift_closes_a_gap(memory, dtype, step):
    buffer = filled(memory, ROWS, dtype)
    buffer.shift(1, 4, 2, step)
    assert np.array_equal(buffer.read(0, 1), ROWS[:, :, :1])
    assert np.array_equal(buffer.read(1, 4), ROWS[:, :, 3:6])


@pytest.mark.parametrize('half', [1, 2])
@pytest.mark.parametrize('dtype', TYPES[:2])
@pytest.mark.parametrize('step', [1, 2, 100])
def test_a_shift_rotates_what_it_moves(memory, dtype, step, half):
    buffer = filled(memory, ROWS, dtype)
    angles = np.array([0.3, 0.7][:half])
    cos_sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    buffer.shift(1, 4, 2, step, cos_sin)
    assert np.array_equal(buffer.read(0, 1), ROWS[:, :, :1])
    assert np.array_equal(buffer.read(1, 4), rotate(ROWS[:, :, 3:6].astype(dtype), cos_sin))


def test_parts_share_the_memory_of_the_whole(memory, dtype):
    whole = memory.buffer((3, 2, 6, 4), dtype)
    whole.part(1).write(2, ROWS[:, :, :2].astype(dtype))
    assert np.array_equal(whole.part(1).read(2, 4), ROWS[:, :, :2])
    assert not whole.part(0).read().any() and not whole.part(2).read().any()
    layers = memory.buffer((2, 3, 5, 3), dtype)
    inner = layers.part(1).without_first_axis().part(2)
    inner.write(0, COLUMNS.astype(dtype))
    assert np.array_equal(layers.numpy()[1, 2], COLUMNS[0]) and not layers.numpy()[0].any()


def test_chosen_parts_are_copied(memory, dtype):
    source, target = memory.buffer((2, 3, 5, 3), dtype), memory.buffer((2, 3, 5, 3), dtype)
    source.fill(5)
    target.fill(2)
    target.copy_parts(source, [0, 2])
    assert np.all(target.numpy()[:, [0, 2]] == 5) and np.all(target.numpy()[:, 1] == 2)


@pytest.mark.parametrize('shape', [(), (1,), (2, 3), (2, 1, 4), (1, 2, 3, 4)])
def test_all_numbers_of_any_tensor_can_be_set(memory, dtype, shape):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    buffer = memory.buffer(shape, dtype)
    assert not buffer.numpy().any()
    buffer.set(values)
    assert np.array_equal(buffer.numpy(), values)


def test_a_buffer_moves_between_the_host_and_a_device(memory, dtype):
    other = device_memory.new_memory() if memory is HOST else HOST
    moved = filled(memory, ROWS, dtype).to(other, 8, 5)
    assert np.array_equal(moved.read(0, 5), ROWS[:, :, :5]) and not moved.read(5).any()
    assert type(moved) is type(other.buffer((1,), dtype))


def test_no_other_file_reaches_the_numbers_of_a_buffer():
    inside = {file.name for file in (ROOT / 'lfm_ros').rglob('*.py')
              if re.search(r'\._array\b', file.read_text())}
    assert inside == {'buffers.py'}


def test_the_graphs_that_move_rows_are_those_that_the_repository_makes():
    made = runpy.run_path(str(ROOT / 'tools' / 'make_row_graphs.py'))
    folder = ROOT / 'lfm_ros' / 'engine' / 'runtime' / 'row_graphs'
    expected = {f'{name}.onnx': model.SerializeToString()
                for name, model in made['graphs']().items()}
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == expected
