# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Only a buffer writes where keys, values and windows live."""
import re

from lfm_ros.engine.runtime.buffers import Buffer
import numpy as np
import pytest
from support import open_model
from support import ROOT

ROWS = np.arange(2 * 6 * 3, dtype=np.float32).reshape(1, 2, 6, 3)


def test_rows_that_were_read_cannot_be_written_through():
    state = open_model().new_state()
    open_model().runner.run(state, [1, 2, 3])
    for array in (*state.arrays().values(), *state.rows(1).values(), Buffer.of(ROWS).read(1, 2)):
        with pytest.raises(ValueError, match='read-only'):
            array[...] = 0


def test_what_is_read_again_shows_what_was_written_between():
    buffer = Buffer((1, 2, 6, 3), np.float32)
    assert not buffer.read().any() and buffer.rows == 6 and buffer.nbytes == ROWS.nbytes
    buffer.write(2, ROWS[:, :, :3])
    assert np.array_equal(buffer.read(2, 5), ROWS[:, :, :3])
    assert not buffer.read(0, 2).any() and not buffer.read(5).any()


def test_a_copy_and_a_resized_buffer_are_independent():
    buffer = Buffer.of(ROWS)
    other, larger = buffer.copy(), buffer.resized(9, 4)
    buffer.fill(7)
    assert np.array_equal(other.read(), ROWS)
    assert np.array_equal(larger.read(0, 4), ROWS[:, :, :4]) and not larger.read(4).any()


def test_rows_are_copied_between_buffers():
    buffer = Buffer((1, 2, 4, 3), np.float32)
    buffer.copy_rows(1, Buffer.of(ROWS), 3, 2)
    assert np.array_equal(buffer.read(1, 3), ROWS[:, :, 3:5])


@pytest.mark.parametrize('step', [1, 2, 100])
def test_a_shift_closes_a_gap_and_changes_what_it_moves(step):
    buffer = Buffer.of(ROWS)
    buffer.shift(1, 4, 2, step, lambda rows: -rows)
    assert np.array_equal(buffer.read(0, 1), ROWS[:, :, :1])
    assert np.array_equal(buffer.read(1, 4), -ROWS[:, :, 3:6])


def test_no_other_file_reaches_the_numbers_of_a_buffer():
    inside = {file.name for file in (ROOT / 'lfm_ros').rglob('*.py')
              if re.search(r'\._array\b', file.read_text())}
    assert inside == {'buffers.py'}
