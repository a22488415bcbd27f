# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Models that `lfm prepare` wrote, and those of the cache, do all that a model does."""
from __future__ import annotations

import pytest

pytest.importorskip('onnx')

from lfm_ros.engine.model import Model  # noqa: E402, I100
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.engine.runtime import bindings  # noqa: E402
from lfm_ros.prepare.folder import prepare  # noqa: E402
from lfm_ros.prepare.folder import PrepareOptions  # noqa: E402
from lfm_ros.prepare.graph import load  # noqa: E402
from lfm_ros.prepare.open_model import open_prepared  # noqa: E402
from lfm_ros.prepare.passes.prefill import adds_up_with_signs  # noqa: E402
import numpy as np  # noqa: E402
from onnx import TensorProto  # noqa: E402
from support import ask  # noqa: E402
from support import assert_same  # noqa: E402
from support import check_invariants  # noqa: E402
from support import check_read_again  # noqa: E402
from support import folder  # noqa: E402
from support import golden  # noqa: E402
from support import LONG_TEXT  # noqa: E402
from support import new_mission  # noqa: E402

WISHES = {'lossless': PrepareOptions(), 'int8': PrepareOptions(kv='int8'),
          'fast': PrepareOptions(prefill='fast'),
          'both': PrepareOptions(kv='int8', prefill='fast')}


@pytest.fixture(scope='module', params=WISHES)
def model(request, tmp_path_factory):
    """Give a model of each kind, as `lfm prepare` writes it and the node opens it."""
    target = tmp_path_factory.mktemp('prepared')
    prepare(folder('lfm2-int4'), target / 'out', '', WISHES[request.param])
    return open_prepared(target / 'out', ModelOptions(threads=1, prefill_chunk=64),
                         cache_dir=target / 'cache')


def read(model, sizes):
    """Return the logits after ids that were read in calls of these sizes."""
    state, ids = model.new_state(), list(golden('lfm2-int4')['ids'])
    ids = (ids * (1 + sum(sizes) // len(ids)))[:sum(sizes)]
    for size in sizes:
        logits = model.runner.run(state, ids[:size])[-1]
        ids = ids[size:]
    return logits.copy(), state


def test_it_is_opened_as_it_was_prepared(model):
    assert model.options.prepared
    assert model.runner.can_rollback and model.runner.max_batch_size == 4


def test_weights_of_the_second_graph_have_signs_where_kernels_add_these_up(model):
    prefill = model.options.prepared / 'prefill.onnx'
    if not prefill.exists():
        pytest.skip('it has no second graph')
    graph = load(prefill)
    kinds = {graph.initializer(node.input[1]).data_type
             for node in graph.of_type('DynamicQuantizeMatMul')}
    assert kinds == {TensorProto.INT8 if adds_up_with_signs() else TensorProto.UINT8}


@pytest.mark.parametrize('sizes', [[120], [60, 60], [17] * 6 + [18], [5] * 24, [1] * 120])
def test_calls_of_all_sizes_say_nearly_the_same(model, sizes):
    # The second graph has other weights; what was read wrongly is off by more than 1.
    most = 0.25 if model.runner._prefill is None else 0.7
    expected, _ = read(model, [64, 56])
    found, _ = read(model, sizes)
    assert np.linalg.norm(found - expected) <= most * np.linalg.norm(expected)


def test_a_long_history_is_read_without_the_attention_that_takes_memory(model, monkeypatch):
    before, _ = read(model, [40, 40, 40])
    monkeypatch.setattr(bindings, 'LONG_CONTEXT', 80)
    after, state = read(model, [40, 40, 40])
    assert state.position == 120
    assert np.linalg.norm(after - before) <= 0.25 * np.linalg.norm(before)


def test_a_mission_is_the_same_bit_for_bit_when_it_is_read_again(model):
    mission = new_mission(model)
    for prompt in (LONG_TEXT[:100], 'box box box table table', 'Where is the box? ' * 6):
        ask(mission, prompt, max_tokens=12)
    check_invariants(mission)
    check_read_again(mission)


def test_a_turn_that_is_given_up_leaves_the_mission_as_it_was(model):
    mission = new_mission(model)
    ask(mission, 'Where is the red box?', max_tokens=8)
    mission.prefill_all()
    before = {name: array.copy() for name, array in mission.state.arrays().items()}
    ask(mission, 'And the blue one? ' * 3, max_tokens=12, aside=True)
    assert_same(mission.state.arrays(), before)


def test_a_model_from_the_cache_says_what_the_model_says(tmp_path):
    plain = Model(folder('lfm2-int4'), ModelOptions(threads=1))
    cached = open_prepared(folder('lfm2-int4'), ModelOptions(threads=1), cache_dir=tmp_path)
    again = open_prepared(folder('lfm2-int4'), ModelOptions(threads=1), cache_dir=tmp_path,
                          make=False)
    assert cached.options.prepared == again.options.prepared is not None
    expected, state = read(plain, [64, 56, 1])
    for model in (cached, again):
        found, own = read(model, [64, 56, 1])
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert_same(own.arrays(), state.arrays())


def test_without_a_place_for_it_the_model_is_opened_as_it_is(tmp_path):
    (tmp_path / 'file').write_text('no folder')
    model = open_prepared(folder('lfm2-int4'), ModelOptions(threads=1),
                          cache_dir=tmp_path / 'file')
    assert model.options.prepared is None
    read(model, [20])
