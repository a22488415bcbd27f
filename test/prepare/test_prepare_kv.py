# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keys and values in 8 bits, the second way for long calls, and the second graph for prompts."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip('onnx')

from lfm_ros.engine.files.folder import find_model  # noqa: E402, I100
from lfm_ros.engine.runtime.session import runtime_version  # noqa: E402, I100
from lfm_ros.prepare.accuracy import Text  # noqa: E402, I100
from lfm_ros.prepare.graph import attributes  # noqa: E402, I100
from lfm_ros.prepare.graph import load  # noqa: E402, I100
from lfm_ros.prepare.passes.batch_decode import add_batch_decode  # noqa: E402, I100
from lfm_ros.prepare.passes.int8_kv import calibrated  # noqa: E402, I100
from lfm_ros.prepare.passes.int8_kv import measure  # noqa: E402, I100
from lfm_ros.prepare.passes.int8_kv import store_in_int8  # noqa: E402, I100
from lfm_ros.prepare.passes.prefill import adds_up_with_signs  # noqa: E402, I100
from lfm_ros.prepare.passes.prefill import by_column  # noqa: E402, I100
from lfm_ros.prepare.passes.prefill import full_weight  # noqa: E402, I100
from lfm_ros.prepare.passes.prefill import in_eight_bits  # noqa: E402, I100
from lfm_ros.prepare.passes.prefill import with_signs  # noqa: E402, I100
from lfm_ros.prepare.passes.prefill_attention import add_prefill_attention  # noqa: E402, I100
from lfm_ros.prepare.weights import read  # noqa: E402, I100
from lfm_ros.prepare.weights import write  # noqa: E402, I100
from prepare_support import Driver  # noqa: E402, I100
from prepare_support import edited  # noqa: E402, I100
from prepare_support import ids_of  # noqa: E402, I100
from support import folder  # noqa: E402, I100
import test_prepare_batch  # noqa: E402, I100
import written_out  # noqa: E402, I100

NAMES = ['lfm2', 'lfm2-odd', 'lfm2-past-conv', 'qwen3', 'lfm2-int4', 'lfm2-past-conv-fp16']
# The fixtures have random weights and few layers: rounding shows more than in a real model.
NOISE = 0.1


def in_int8(name: str, target: Path, company: bool = False) -> Path:
    """Return the graph of a fixture with keys and values in 8 bits and a way for long calls."""
    if runtime_version() < (1, 27):
        pytest.skip('keys and values in 8 bits need ONNX Runtime 1.27')
    source = find_model(folder(name))

    def edit(graph):
        assert calibrated(graph, source, Text.read(source)) == ''
        if company:
            assert add_batch_decode(graph, 3) == ''
        assert add_prefill_attention(graph) == ''
    return edited(name, target, edit)[0]


@pytest.mark.parametrize('name', NAMES)
def test_keys_and_values_in_8_bits_say_nearly_the_same(name, tmp_path):
    found = Driver(in_int8(name, tmp_path)).logits(ids_of(name), [20, 7, 1, 20])
    expected = Driver(folder(name) / 'model.onnx').logits(ids_of(name), [20, 7, 1, 20])
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).mean() < NOISE * np.abs(expected).mean()


@pytest.mark.parametrize('company', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_a_long_call_says_what_a_short_one_says(name, company, tmp_path):
    driver = Driver(in_int8(name, tmp_path, company))
    for start, end in ((0, 9), (9, 10), (10, 40)):
        before, position, ids = dict(driver.state), driver.position, ids_of(name)[start:end]
        short = driver.read(ids)
        after = driver.state
        driver.state, driver.position = before, position
        long = driver.read(ids, long=np.array(True))
        scale = np.abs(short['logits']).mean()
        assert np.abs(long['logits'] - short['logits']).mean() < NOISE * scale
        pasts = [n for n in before if n.startswith('past_key_values')]
        for past in pasts:
            rows = long[past.replace('past_key_values', 'rows')]
            assert np.array_equal(long[past.replace('past_key_values', 'present')], before[past])
            assert short[past.replace('past_key_values', 'rows')].shape[2] == 0
            expected = after[past][:, :, position:]
            assert rows.dtype == np.int8 and rows.shape == expected.shape
            away = np.abs(rows.astype(int) - expected)
            assert away.mean() < 2, 'about one step of 255'
        first = [p for p in pasts if p.endswith('.key')][0]
        if not name.startswith('lfm2'):  # nothing was attended to before the first attention
            assert np.array_equal(long[first.replace('past_key_values', 'rows')],
                                  after[first][:, :, position:])
        driver.state = after


def test_rows_in_company_keep_theirs_in_8_bits_too(tmp_path):
    path = in_int8('lfm2', tmp_path, company=True)
    rows = test_prepare_batch.missions(path, 3, 16)
    test_prepare_batch.check(rows, [40, 41, 42], 0.3, 3)


def test_an_exported_graph_with_scales_elsewhere_has_no_second_way():
    graph = load(folder('lfm2-int8-state') / 'model.onnx')
    before = graph.model.SerializeToString()
    assert add_prefill_attention(
        graph) == 'keys and values are not kept in 8 bits, or by scales in a file'
    assert graph.model.SerializeToString() == before


def test_scales_hold_a_key_wherever_it_is_turned_to():
    source = find_model(folder('lfm2'))
    graph = load(source.graph)
    scales = measure(graph, source, Text.read(source))
    keys = {n: s for n, s in scales.items() if n.endswith('.key')}
    assert keys
    for scale in keys.values():
        half = scale.shape[1] // 2
        assert np.array_equal(scale[:, :half], scale[:, half:])


def test_what_is_already_in_8_bits_or_written_out_is_refused(tmp_path):
    assert 'quantized' in store_in_int8(load(folder('lfm2-int8-state') / 'model.onnx'), {})
    written_out.with_written_out_attention(folder('lfm2'), tmp_path / 'lfm2')
    graph = load(tmp_path / 'lfm2' / 'model.onnx')
    assert 'GroupQueryAttention' in store_in_int8(graph, {})
    assert '8 bits' in add_prefill_attention(load(folder('lfm2') / 'model.onnx'))
    assert add_prefill_attention(graph)


@pytest.mark.parametrize('name', ['lfm2-int4', 'lfm2-int8'])
def test_weights_are_read_as_the_operator_reads_them(name):
    graph = load(folder(name) / 'model.onnx')
    exact = load(folder('lfm2') / 'model.onnx')
    for node, full in zip(graph.of_type('MatMulNBits')[:4], exact.of_type('MatMul')[:4]):
        found = full_weight(graph, node, folder(name))
        expected = read(exact.initializer(full.input[1]), folder('lfm2'))
        step = np.abs(expected).max() / (1 << attributes(node)['bits'] - 1)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1.01 * step


@pytest.mark.parametrize('bits, zeros', [
    (2, 'none'), (2, 'packed'), (4, 'none'), (4, 'packed'), (4, 'float'), (8, 'none'),
    (8, 'packed')])
def test_every_form_of_weights_is_read_as_the_operator_reads_it(bits, zeros, tmp_path):
    if bits == 2 and runtime_version() < (1, 27):
        pytest.skip('weights in 2 bits need a newer ONNX Runtime')
    rng = np.random.default_rng(bits)
    columns, blocks, block = 6, 3, 32
    width = 90  # the last block is not full
    given = {'b': rng.integers(0, 256, (columns, blocks, block * bits // 8)).astype(np.uint8),
             's': rng.random((columns, blocks)).astype(np.float32)}
    if zeros == 'packed':
        given['z'] = rng.integers(0, 256, (columns, -(-blocks * bits // 8))).astype(np.uint8)
    elif zeros == 'float':
        given['z'] = rng.integers(0, 3, (columns, blocks)).astype(np.float32)
    node = onnx.helper.make_node('MatMulNBits', ['a', *given], ['logits'], domain='com.microsoft',
                                 K=width, N=columns, bits=bits, block_size=block)
    info = onnx.helper.make_tensor_value_info
    proto = onnx.helper.make_graph(
        [node], 'g', [info('a', 1, [width, width])], [info('logits', 1, [width, columns])],
        [onnx.numpy_helper.from_array(v, n) for n, v in given.items()])
    path = tmp_path / 'model.onnx'
    onnx.save(onnx.helper.make_model(proto, ir_version=10, opset_imports=[
        onnx.helper.make_opsetid('', 21), onnx.helper.make_opsetid('com.microsoft', 1)]), path)
    product = Driver(path).session.run(None, {'a': np.eye(width, dtype=np.float32)})[0]
    assert np.allclose(full_weight(load(path), node, tmp_path), product, atol=1e-5)


def test_eight_bits_by_column_are_as_near_as_they_can_be():
    weight = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
    weight[:, 2] = 0
    numbers, scale = by_column(weight)
    assert numbers.dtype == np.int8 and np.abs(numbers.astype(int)).max() == 127
    assert (np.abs(numbers * scale - weight) <= scale / 2 + 1e-6).all()


@pytest.mark.parametrize('name', ['lfm2-int4', 'lfm2-int8'])
def test_the_second_graph_for_prompts_says_nearly_the_same(name, tmp_path):
    second = in_eight_bits(load(folder(name) / 'model.onnx'), folder(name))
    assert len(second.of_type('MatMulNBits')) == 1, 'the head stays'
    (tmp_path / name).mkdir()
    write(second, folder(name), tmp_path / name / 'model.onnx')
    found = Driver(tmp_path / name / 'model.onnx').logits(ids_of(name), [48])
    expected = Driver(folder(name) / 'model.onnx').logits(ids_of(name), [48])
    assert np.abs(found - expected).mean() < 0.15 * np.abs(expected).mean()


def test_weights_with_signs_give_the_same_products(tmp_path):
    if not adds_up_with_signs():
        pytest.skip('kernels for weights with signs overflow on this machine')
    found = []
    for edit in (lambda graph: None, with_signs):
        second = in_eight_bits(load(folder('lfm2-int4') / 'model.onnx'), folder('lfm2-int4'))
        edit(second)
        target = tmp_path / str(len(found)) / 'lfm2-int4'
        target.mkdir(parents=True)
        write(second, folder('lfm2-int4'), target / 'model.onnx')
        found.append(Driver(target / 'model.onnx').logits(ids_of('lfm2-int4'), [48]))
    # Which rows a kernel takes together is another matter of rounding.
    assert np.allclose(*found, rtol=1e-4, atol=1e-4)


def test_a_model_without_quantized_weights_has_no_second_graph():
    assert in_eight_bits(load(folder('lfm2') / 'model.onnx'), folder('lfm2')) == \
        'it has no MatMulNBits'
