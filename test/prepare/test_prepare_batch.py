# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several missions decode in one call as each of them does alone."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import NAMES

pytest.importorskip('onnx')

from lfm_ros.prepare.pipeline import APPLIED  # noqa: E402, I100
from lfm_ros.prepare.pipeline import edit_losslessly  # noqa: E402, I100
from prepare_support import Driver  # noqa: E402, I100
from prepare_support import edited  # noqa: E402, I100
from prepare_support import ids_of  # noqa: E402, I100
from support import folder  # noqa: E402, I100
import variants  # noqa: E402, I100

BATCHED = [n for n in NAMES if n != 'phi']
LENGTHS = (9, 1, 17, 4)


def missions(path: Path, count: int, width: int = 0) -> list[Driver]:
    """Return missions that have read different numbers of ids."""
    first, found = Driver(path, width), []
    for i, length in enumerate(LENGTHS[:count]):
        driver = first.another()
        driver.read(ids_of(path.parent.name)[i:i + length])
        found.append(driver)
    return found


def in_company(rows: list[Driver], ids: list[int], slots: int = 4) -> dict[str, np.ndarray]:
    """Decode one id for each row, in one call; the states of the rows stay as they are."""
    first = rows[0]
    feeds = first.feeds([[i] for i in ids])
    if 'position_ids' in feeds:
        feeds['position_ids'] = np.array([[r.position] for r in rows])
    feeds['company'] = np.array(True)
    for slot in range(slots):
        length = rows[slot].position if slot < len(rows) else 0
        feeds[f'slot.{slot}.seqlens'] = np.array([length], np.int32)
        feeds[f'slot.{slot}.total'] = np.array(length + 1, np.int32)
        if slot > 1:
            feeds[f'slot.{slot}.on'] = np.array(slot < len(rows))
    for name in first.state:
        if not name.startswith('past_key_values'):
            feeds[name] = np.concatenate([r.state[name] for r in rows])
            continue
        feeds[name] = first.state[name]
        for slot in range(1, slots):
            feeds[f'slot.{slot}.{name}'] = rows[slot].state[name] if slot < len(rows) \
                else first.empty(name)
    return dict(zip(first.outputs, first.session.run(None, feeds)))


def check(rows: list[Driver], ids: list[int], loose: float, slots: int = 4) -> None:
    """Compare a call in company with calls alone."""
    found = in_company(rows, ids, slots)
    for slot, (row, fresh) in enumerate(zip(rows, ids)):
        alone = row.read([fresh])
        for name, array in alone.items():
            if name.startswith(('slot.', 'rows.')):
                continue
            if '.key' in name or '.value' in name:
                ours = found[f'slot.{slot}.{name}' if slot else name]
            else:
                ours = found[name][slot:slot + 1]
            assert ours.dtype == array.dtype
            assert np.allclose(ours, array, rtol=1e-4, atol=loose), (slot, name)
    for slot in range(len(rows), slots):
        for name, array in found.items():
            if name.startswith(f'slot.{slot}.'):
                assert array.size == 0


def loose_for(name: str) -> float:
    """Return how far a row may be off: int8 activations differ by the number of rows."""
    return 1.0 if name in ('lfm2-int4', 'lfm2-int8', 'lfm2-int8-state') or 'fp16' in name \
        else 1e-4


@pytest.mark.parametrize('name', BATCHED)
def test_rows_in_company_get_what_they_get_alone(name, tmp_path):
    path, _ = edited(name, tmp_path, edit_losslessly)
    rows = missions(path, 4)
    for count in (4, 2, 3, 4):
        check(rows[:count], ids_of(name)[20 + count:20 + 2 * count], loose_for(name))


@pytest.mark.parametrize('slots', [2, 6])
def test_there_may_be_as_many_rows_as_are_asked_for(slots, tmp_path):
    path, _ = edited('lfm2', tmp_path, lambda g: edit_losslessly(g, slots))
    check(missions(path, 2), [40, 41], 1e-4, slots)


def test_a_rotation_outside_of_attention_follows_the_rows(tmp_path):
    variants.with_position_ids(folder('lfm2'), tmp_path / 'lfm2')
    path = tmp_path / 'lfm2' / 'model.onnx'
    edit_file(path)
    check(missions(path, 3), [40, 41, 42], 1e-4)


def test_positions_that_attention_is_told_follow_the_rows(tmp_path):
    def tell(graph: Any) -> None:
        graph.add_input('position_ids', 7, ['batch_size', 'sequence_length'])
        for node in graph.of_type('GroupQueryAttention'):
            node.input[9] = 'position_ids'
        assert edit_losslessly(graph)['company'] == APPLIED
    path, _ = edited('lfm2', tmp_path, tell)
    check(missions(path, 3), [40, 41, 42], 1e-4)


def test_query_key_and_value_in_one_tensor_follow_the_rows(tmp_path):
    def pack(graph: Any) -> None:
        for node in graph.of_type('GroupQueryAttention'):
            whole = f'{node.name}/packed'
            graph.nodes.append(_concat(list(node.input[:3]), whole))
            node.input[0], node.input[1], node.input[2] = whole, '', ''
        graph.sort()
        edit_losslessly(graph)
    path, _ = edited('lfm2-past-conv', tmp_path, pack)
    check(missions(path, 3), [40, 41, 42], 1e-4)


def _concat(names: list[str], result: str) -> Any:
    from onnx import helper
    return helper.make_node('Concat', names, [result], axis=2)


def edit_file(path: Path) -> None:
    """Make the lossless edits in a file."""
    from lfm_ros.prepare.graph import load
    graph = load(path)
    edit_losslessly(graph)
    path.write_bytes(graph.model.SerializeToString())


@pytest.mark.parametrize('count', [1, 2, 3])
def test_buffers_are_written_in_place_and_no_other_byte(count, tmp_path):
    path, _ = edited('lfm2', tmp_path, edit_losslessly)
    rows = missions(path, count)
    room, layers = 32, [n for n in rows[0].state if n.startswith('past_key_values')]
    buffers: list[dict[str, np.ndarray]] = []
    for slot in range(4):
        buffers.append({})
        for name in layers:
            buffer = np.full((1, 1, room, 16), np.nan, np.float32)
            if slot < count:
                buffer[:, :, :rows[slot].position] = rows[slot].state[name]
            buffers[slot][name] = buffer
    before = [{n: b.copy() for n, b in own.items()} for own in buffers]
    binding = rows[0].session.io_binding()
    kept = _bind(binding, rows, buffers, [50 + i for i in range(count)])
    rows[0].session.run_with_iobinding(binding)
    logits = binding.get_outputs()[-1].numpy()
    del kept
    for slot in range(4):
        if slot < count:
            alone = rows[slot].read([50 + slot])
            assert np.allclose(logits[slot], alone['logits'][0], atol=1e-4)
        for name in layers:
            expected = before[slot][name]
            if slot < count:
                end = rows[slot].position
                expected[:, :, :end] = rows[slot].state[name]
            assert np.allclose(buffers[slot][name], expected, atol=1e-5, equal_nan=True)


def _bind(binding: Any, rows: list[Driver], buffers: list[dict[str, np.ndarray]],
          ids: list[int]) -> list[np.ndarray]:
    """Bind a call with one buffer as past and present; return what must stay alive."""
    driver, kept = rows[0], []

    def bind(name: str, array: np.ndarray) -> None:
        kept.append(array)
        binding.bind_input(name, 'cpu', 0, array.dtype, array.shape, array.ctypes.data)

    for slot, own in enumerate(buffers):
        for name, buffer in own.items():
            prefix = f'slot.{slot}.' if slot else ''
            bind(prefix + name, buffer)
            binding.bind_output(prefix + name.replace('past_key_values', 'present'), 'cpu', 0,
                                buffer.dtype, buffer.shape, buffer.ctypes.data)
        length = rows[slot].position if slot < len(rows) else 0
        bind(f'slot.{slot}.seqlens', np.array([length], np.int32))
        bind(f'slot.{slot}.total', np.array(length + 1, np.int32))
        if slot > 1:
            bind(f'slot.{slot}.on', np.array(slot < len(rows)))
    bind('company', np.array(len(rows) > 1))
    bind('input_ids', np.array([[i] for i in ids], np.int64))
    bind('attention_mask', np.ones((len(rows), driver.position + 1), np.int64))
    bind('logits_to_keep', np.array([1], np.int64))
    for name in driver.state:
        if not name.startswith('past_key_values'):
            bind(name, np.concatenate([r.state[name] for r in rows]))
    binding.bind_output('logits', 'cpu')
    return kept
