# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs are made ready for a GPU: with what runs need there, and in float16."""
from __future__ import annotations

import logging

from gpu_support import CPU
from gpu_support import CUDA
from gpu_support import Gpu
from lfm_ros.cli.main import main
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.providers import open_on_best
from lfm_ros.prepare.folder import prepare
from lfm_ros.prepare.folder import PrepareOptions
from lfm_ros.prepare.manifest import read_manifest
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.prepare.pipeline import APPLIED
import numpy as np
import onnx
import pytest
from support import assert_one_line
from support import DEFAULT
from support import folder
from support import new_mission
from support import open_model
from support import text_of


@pytest.fixture
def gpu(monkeypatch):
    found = Gpu()
    found.install(monkeypatch.setattr)
    return found


def opened(tmp_path, name=DEFAULT, **options):
    return open_prepared(folder(name), ModelOptions(providers=(CUDA, CPU), threads=1, **options),
                         cache_dir=tmp_path)


@pytest.mark.parametrize('name', ['lfm2-past-conv-fp16', 'lfm2-fp16'])
def test_a_graph_in_float16_gives_the_logits_of_the_cpu(gpu, tmp_path, name):
    model = opened(tmp_path, name)
    assert model.describe()['prepared'] and model.describe()['providers'] == [CUDA, CPU]
    state, other = model.new_state(), open_model(name).new_state()
    for ids in ([3, 4, 5], [6], [7]):
        found = model.runner.run(state, ids)[-1]
        expected = open_model(name).runner.run(other, ids)[-1]
        assert np.linalg.norm(found - expected) <= 0.02 * np.linalg.norm(expected)


@pytest.mark.parametrize('name', ['lfm2-past-conv', 'lfm2', 'lfm2-int4', 'qwen3'])
def test_a_graph_in_float32_becomes_float16_and_it_is_said_what_that_changes(
        gpu, tmp_path, caplog, name):
    caplog.set_level(logging.INFO)
    model = opened(tmp_path, name)
    assert model.describe()['state_dtypes'] == ['float16']
    said, = [r.getMessage() for r in caplog.records if 'float16' in r.getMessage()]
    assert_one_line(said, f'runs on {CUDA}', 'log-probabilities changed by')
    change = read_manifest(next(p for p in tmp_path.iterdir() if p.is_dir()))['change']['float16']
    assert 0 < change['mean'] < change['worst'] < 1
    state, other = model.new_state(), open_model(name).new_state()
    found = model.runner.run(state, [3, 4, 5])[-1]
    expected = open_model(name).runner.run(other, [3, 4, 5])[-1]
    assert np.linalg.norm(found - expected) < 0.5 * np.linalg.norm(expected)


def test_what_the_cpu_does_better_with_an_edit_a_gpu_does_without(gpu, tmp_path):
    model = opened(tmp_path, 'lfm2-past-conv-fp16')
    assert model.runner.can_rollback and not model.runner.head_pruned
    assert model.runner.max_batch_size == 4 and not model.signature.lanes
    assert model.signature.keep and model.runner.capabilities.captured


def test_an_export_that_the_cpu_cannot_run_is_prepared_and_compared_on_the_gpu(gpu, tmp_path):
    gpu.cpu_runs = False
    assert opened(tmp_path, 'lfm2-fp16').describe()['prepared']


def test_no_copy_to_the_host_keeps_runs_of_a_prepared_graph_from_being_captured(gpu, tmp_path):
    opened(tmp_path, 'lfm2-fp16')
    graph, = tmp_path.rglob('model.onnx')
    nodes = {output: node for node in onnx.load(graph, load_external_data=False).graph.node
             for output in node.output}
    start = nodes['head/hidden'].input[1]
    # ONNX Runtime leaves to the CPU what is computed of a shape, constants and inputs.
    assert nodes[start].op_type == 'Sub' and nodes[start].input[1] == 'logits_to_keep'
    assert nodes[nodes[start].input[0]].op_type == 'Gather'
    assert nodes[nodes[nodes[start].input[0]].input[0]].op_type == 'Shape'


def test_graphs_are_prepared_once_for_each_provider(gpu, tmp_path):
    opened(tmp_path)
    sessions = len(gpu.opened)
    opened(tmp_path)
    # one that is captured, and no other
    assert gpu.opened[sessions:] == [[CUDA, CPU]]
    open_prepared(folder(DEFAULT), ModelOptions(threads=1), cache_dir=tmp_path)
    opened(tmp_path, provider_options={'gpu_mem_limit': '1000000'})
    entries = [read_manifest(p) for p in tmp_path.iterdir() if p.is_dir()]
    assert sorted(e.get('provider', CPU) for e in entries) == [CPU, CUDA, CUDA]


@pytest.mark.parametrize('fault', ['library', 'kernel', 'weights', 'silent'])
def test_a_gpu_that_is_mended_later_is_prepared_for_then(gpu, tmp_path, fault):
    gpu.fault = fault
    model, notice = open_on_best(
        lambda o: open_prepared(folder(DEFAULT), o, cache_dir=tmp_path),
        ModelOptions(providers=(CUDA, CPU), threads=1))
    assert model.describe()['providers'] == [CPU] and notice
    gpu.fault = ''
    assert opened(tmp_path).describe()['prepared']


def test_a_prepared_model_answers_on_a_gpu(gpu, tmp_path):
    mission = new_mission(opened(tmp_path, 'lfm2-past-conv-fp16'))
    twin = new_mission(open_model('lfm2-past-conv-fp16'))
    for prompt in ('Where is the box?', 'And the dock?'):
        assert text_of(mission, prompt, max_tokens=20) == text_of(twin, prompt, max_tokens=20)


@pytest.mark.parametrize('name', ['lfm2-int4', 'lfm2', 'lfm2-past-conv-fp16'])
def test_a_copy_for_a_gpu_can_be_made_on_a_machine_without_one(tmp_path, name):
    report = prepare(folder(name), tmp_path / 'out', '', PrepareOptions(for_device=True))
    assert report.edits['history'] == APPLIED and report.edits['company'] != APPLIED
    halved = name != 'lfm2-past-conv-fp16'
    assert bool(report.float16) == halved == ('float16' in report.edits)
    assert not list((tmp_path / 'out').glob('float16*'))
    model = Model(tmp_path / 'out', ModelOptions(threads=1))
    assert model.describe()['state_dtypes'] == ['float16']
    assert text_of(new_mission(model), 'Where is the box?')


def test_a_copy_for_a_gpu_runs_there_as_it_is(gpu, tmp_path):
    prepare(folder('lfm2'), tmp_path / 'out', '', PrepareOptions(for_device=True))
    model = open_prepared(tmp_path / 'out', ModelOptions(providers=(CUDA, CPU), threads=1),
                          cache_dir=tmp_path / 'cache')
    assert model.runner.capabilities.captured and model.runner.can_rollback


@pytest.mark.parametrize('arguments, said', [
    (['--provider', 'NoSuchProvider'], 'choose from'),
    (['--provider', CUDA, '--kv', 'int8'], 'leave them')])
def test_what_cannot_be_prepared_for_a_provider_is_refused(capsys, tmp_path, arguments, said):
    assert main(['prepare', str(folder('lfm2')), str(tmp_path / 'out'), *arguments]) == 2
    assert said in capsys.readouterr().err
