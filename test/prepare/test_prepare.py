# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Edits that change no number: what a graph can do more, and that it says the same."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import MODELS
from support import NAMES

onnx = pytest.importorskip('onnx')

from lfm_ros.prepare import VERSION  # noqa: E402, I100
from lfm_ros.prepare.graph import load  # noqa: E402, I100
from lfm_ros.prepare.passes.batch_decode import add_batch_decode  # noqa: E402, I100
from lfm_ros.prepare.passes.conv_history import add_conv_history  # noqa: E402, I100
from lfm_ros.prepare.passes.lm_head import prune_lm_head  # noqa: E402, I100
from lfm_ros.prepare.passes.portable import make_portable  # noqa: E402, I100
from lfm_ros.prepare.pipeline import APPLIED  # noqa: E402, I100
from lfm_ros.prepare.pipeline import edit_losslessly  # noqa: E402, I100
from lfm_ros.prepare.pipeline import read_note  # noqa: E402, I100
from lfm_ros.prepare.pipeline import write_note  # noqa: E402, I100
from prepare_support import Driver  # noqa: E402, I100
from prepare_support import edited  # noqa: E402, I100
from prepare_support import ids_of  # noqa: E402, I100
from support import folder  # noqa: E402, I100
import variants  # noqa: E402, I100
import written_out  # noqa: E402, I100

HYBRIDS = [n for n in NAMES if n.startswith('lfm2')]
BATCHED = [n for n in NAMES if n != 'phi']
CHUNKS = ([48], [20, 7, 1, 20], [1] * 48)


def tolerance(name: str) -> float:
    """Return how far numbers of the same meaning may be apart."""
    return 1e-4 if 'int' not in name and 'fp16' not in name else 0.3


def plain(name: str) -> Driver:
    """Return a fixture as it is."""
    return Driver(folder(name) / 'model.onnx')


def changed(name: str, target: Path, edit: Any = edit_losslessly) -> Driver:
    """Return a fixture with edits."""
    return Driver(edited(name, target, edit)[0])


@pytest.mark.parametrize('name', NAMES)
def test_an_edited_graph_gives_the_same_numbers_however_it_is_read(name, tmp_path):
    driver, source = changed(name, tmp_path), plain(name)
    for sizes in CHUNKS:
        found = driver.another().logits(ids_of(name), sizes)
        expected = source.another().logits(ids_of(name), sizes)
        if name == 'lfm2-fp16':  # its windows are rounded to fp16 where they come out
            assert np.allclose(found, expected, atol=0.1)
        else:
            assert np.array_equal(found, expected), sizes


@pytest.mark.parametrize('name', NAMES)
def test_every_edit_applies_or_says_why_not(name, tmp_path):
    _, found = edited(name, tmp_path, edit_losslessly)
    assert found['head'] == APPLIED
    assert found['history'] == (APPLIED if name in HYBRIDS else 'the model has no convolutions')
    assert (found['company'] == APPLIED) == (name in BATCHED)
    assert name in BATCHED or 'rotary table' in found['company']


@pytest.mark.parametrize('name', NAMES)
def test_the_head_gives_as_many_last_rows_as_are_asked_for(name, tmp_path):
    driver = changed(name, tmp_path)
    ids = ids_of(name)[:20]
    every = plain(name).logits(ids, [20])
    for keep in (1, 3, 20, 64):
        rows = driver.another().read(ids, keep)['logits'][0].astype(np.float32)
        assert len(rows) == min(keep, 20)
        # One row is multiplied by another kernel than many.
        assert np.allclose(rows, every[-keep:], rtol=1e-4, atol=tolerance(name))


def test_a_head_that_gives_one_row_gives_all_again(tmp_path):
    variants.with_last_logits_only(folder('lfm2'), tmp_path / 'lfm2')
    graph = load(tmp_path / 'lfm2' / 'model.onnx')
    assert prune_lm_head(graph) == ''
    (tmp_path / 'lfm2' / 'model.onnx').write_bytes(graph.model.SerializeToString())
    found = Driver(tmp_path / 'lfm2' / 'model.onnx').logits(ids_of('lfm2'), [48])
    assert np.array_equal(found, plain('lfm2').logits(ids_of('lfm2'), [48]))


def prune_as_genai_does(graph):
    """Let the head read the last row only, by the nodes that prune_lm_head=true writes."""
    head = next(n for n in graph.nodes if 'logits' in n.output)
    graph.nodes.extend([
        onnx.helper.make_node('Constant', [], [name], value=onnx.numpy_helper.from_array(
            np.array(value), name)) for name, value in (('-1', -1), ('[1]', [1]))])
    graph.nodes.extend([
        onnx.helper.make_node('Gather', [head.input[0], '-1'], ['last'], axis=1),
        onnx.helper.make_node('Unsqueeze', ['last', '[1]'], ['row'])])
    head.input[0] = 'row'
    graph.sort()
    return prune_lm_head(graph)


def test_a_head_that_genai_pruned_gives_all_rows_again(tmp_path):
    path, reason = edited('lfm2-int4', tmp_path, prune_as_genai_does)
    assert reason == ''
    assert not any(n.op_type == 'Unsqueeze' for n in load(path).nodes)
    found = Driver(path).logits(ids_of('lfm2-int4'), [40, 8])
    assert np.array_equal(found, plain('lfm2-int4').logits(ids_of('lfm2-int4'), [40, 8]))


def test_a_head_with_a_bias_scale_and_softcap_is_cut_before_the_product(tmp_path):
    def burden(graph):
        head = next(n for n in graph.nodes if 'logits' in n.output)
        head.output[0] = 'raw'
        scale, bias = (graph.add_constant(n, v, np.float32) for n, v in (('s', 2), ('b', 3)))
        make = onnx.helper.make_node
        graph.nodes.extend([make('Add', ['raw', bias], ['x']), make('Mul', ['x', scale], ['y']),
                            make('Tanh', ['y'], ['z']), make('Mul', [scale, 'z'], ['logits'])])
        graph.proto.value_info.extend(onnx.helper.make_tensor_value_info(
            n, 1, ['batch_size', 'sequence_length', 320]) for n in ('raw', 'x', 'y', 'z'))
        found = prune_lm_head(graph)
        assert not {'raw', 'x', 'y', 'z'} & {info.name for info in graph.proto.value_info}
        return found
    path, reason = edited('lfm2', tmp_path, burden)
    assert reason == ''
    assert Driver(path).read(ids_of('lfm2'), 2)['logits'].shape[1] == 2


def test_a_head_that_can_be_asked_for_rows_stays_as_it_is(tmp_path):
    variants.with_num_logits_to_keep(folder('lfm2'), tmp_path / 'lfm2')
    graph = load(tmp_path / 'lfm2' / 'model.onnx')
    before = graph.model.SerializeToString()
    assert 'num_logits_to_keep' in prune_lm_head(graph)
    assert graph.model.SerializeToString() == before


@pytest.mark.parametrize('name', HYBRIDS)
@pytest.mark.parametrize('past', [0, 9])
def test_history_holds_the_window_after_every_token(name, past, tmp_path):
    driver = changed(name, tmp_path)
    ids = ids_of(name)
    if past:
        driver.read(ids[:past])
    singly = driver.another()
    for i in ids[:past]:
        singly.read([i])
    found = driver.read(ids[past:past + 12])
    layers = [int(n.split('.')[1]) for n in driver.outputs if n.startswith('history.')]
    assert layers
    for j in range(12):
        singly.read([ids[past + j]])
        for layer in layers:
            window = singly.window(layer)
            part = found[f'history.{layer}'][:, :, j + 1:j + 1 + window.shape[2]]
            # What is read at once differs from what is read singly, most in int8 activations.
            assert np.allclose(part, window, rtol=1e-2, atol=tolerance(name))
    for layer in layers:
        window = driver.window(layer)
        assert np.array_equal(found[f'history.{layer}'][:, :, -window.shape[2]:], window)


@pytest.mark.parametrize('name', [n for n in HYBRIDS if 'past-conv' not in n])
def test_a_portable_graph_has_no_new_operator_and_gives_the_same(name, tmp_path):
    path, reason = edited(name, tmp_path, lambda g: make_portable(g))
    assert reason == ''
    assert not any(n.op_type == 'CausalConvWithState' for n in load(path).nodes)
    found = Driver(path).logits(ids_of(name), [20, 7, 1, 20])
    assert np.allclose(found, plain(name).logits(ids_of(name), [20, 7, 1, 20]),
                       atol=tolerance(name))


def test_only_what_a_version_lacks_is_written_out(tmp_path):
    for version, operator, attribute in (((1, 23), False, False), ((1, 27), True, False),
                                         ((1, 29), True, True)):
        graph = load(folder('lfm2') / 'model.onnx')
        make_portable(graph, version)
        nodes = graph.of_type('CausalConvWithState')
        assert bool(nodes) == operator
        assert any(a.name == 'state_window' for n in nodes for a in n.attribute) == attribute


@pytest.mark.parametrize('name', HYBRIDS)
def test_a_portable_graph_has_a_history_too(name, tmp_path):
    path, found = edited(name, tmp_path, lambda g: edit_losslessly(g, portable=True))
    assert found['history'] == found['company'] == APPLIED
    logits = Driver(path).logits(ids_of(name)[:9], [9])
    assert np.allclose(logits, plain(name).logits(ids_of(name)[:9], [9]),
                       atol=tolerance(name))


def test_attention_that_is_written_out_keeps_no_company(tmp_path):
    written_out.with_written_out_attention(folder('lfm2'), tmp_path / 'lfm2')
    graph = load(tmp_path / 'lfm2' / 'model.onnx')
    before = graph.model.SerializeToString()
    assert 'GroupQueryAttention' in add_batch_decode(graph)
    assert graph.model.SerializeToString() == before


def test_a_convolution_that_is_not_known_has_no_history(tmp_path):
    graph = load(folder('lfm2') / 'model.onnx')
    for node in graph.of_type('CausalConvWithState')[:1]:
        node.op_type = 'Unknown'
    before = graph.model.SerializeToString()
    assert 'layer 0' in add_conv_history(graph)
    assert graph.model.SerializeToString() == before


def test_a_fixed_batch_or_a_mask_inside_keeps_no_company(tmp_path):
    variants.with_fixed_batch(folder('lfm2'), tmp_path / 'fixed')
    assert 'batch' in add_batch_decode(load(tmp_path / 'fixed' / 'model.onnx'))
    graph = load(folder('lfm2') / 'model.onnx')
    node = graph.of_type('MatMul')[3]
    cast = onnx.helper.make_node('Cast', ['attention_mask'], ['m'], to=1)
    graph.nodes.insert(0, cast)
    node.input[0] = 'm'
    assert 'mask' in add_batch_decode(graph)


def test_the_note_tells_what_was_done(tmp_path):
    def edit(graph):
        assert read_note(graph) == {}
        write_note(graph, edit_losslessly(graph, lanes=3), 3)
    path, _ = edited('lfm2', tmp_path, edit)
    note = read_note(load(path))
    assert note['version'] == VERSION
    assert note['slots'] == 3
    assert note['edits']['company'] == APPLIED
    assert note['edits']['portable'] != APPLIED
    assert (note['kv'], note['prefill']) == ('', '')


def test_edits_are_not_made_twice(tmp_path):
    path, _ = edited('lfm2', tmp_path, edit_losslessly)
    graph = load(path)
    assert APPLIED not in edit_losslessly(graph).values()


def test_weights_stay_in_their_file():
    for model in sorted(MODELS.iterdir()):
        if (model / 'model.onnx.data').exists():
            assert len(load(model / 'model.onnx').model.SerializeToString()) < 200_000
