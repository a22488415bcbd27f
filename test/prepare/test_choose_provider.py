# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""With ``auto`` a model runs on the provider that is fastest with it, as far as it runs right."""
from __future__ import annotations

import json
import logging

from gpu_support import CPU
from gpu_support import CUDA
from gpu_support import Gpu
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.model_options import AUTO
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare import choose_provider
from lfm_ros.prepare.choose_provider import resolve
import pytest
from support import assert_one_line
from support import DEFAULT
from support import folder
from support import MODELS


@pytest.fixture
def gpu(monkeypatch):
    found = Gpu()
    found.install(monkeypatch.setattr)
    return found


@pytest.fixture
def speeds(monkeypatch):
    """Have each provider seem to be as fast as the test says."""
    found = {CUDA: 900.0, CPU: 50.0}
    measure = choose_provider._measure

    def measured(model):
        return measure(model)[0], found[model.describe()['providers'][0]]

    monkeypatch.setattr(choose_provider, '_measure', measured)
    return found


def chosen(tmp_path, name=DEFAULT, **options):
    found = resolve(folder(name), ModelOptions(providers=[AUTO], threads=1, **options), tmp_path)
    return list(found.providers)


def test_the_fastest_provider_comes_first_and_none_behind_the_cpu(gpu, speeds, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert chosen(tmp_path) == [CUDA, CPU]
    said = [r.getMessage() for r in caplog.records if 'fastest' in r.getMessage()]
    assert_one_line(said[0], f'runs fastest on {CUDA}', '900.0 tokens/s')
    speeds[CUDA] = 10.0
    assert chosen(tmp_path, 'lfm2-past-conv-odd') == [CPU]


def test_real_times_are_measured(gpu, tmp_path):
    assert chosen(tmp_path)[-1] == CPU
    kept, = json.loads((tmp_path / choose_provider.FILE).read_text()).values()
    assert set(kept) == {CPU, CUDA} and all(speed > 1 for speed in kept.values())


def test_a_choice_is_made_once(gpu, speeds, tmp_path):
    chosen(tmp_path)
    sessions = len(gpu.opened)
    speeds[CUDA] = 1.0
    assert chosen(tmp_path) == [CUDA, CPU] and len(gpu.opened) == sessions
    assert chosen(tmp_path, provider_options={'device_id': '0'}) == [CPU]


@pytest.mark.parametrize('damage', ['', '[]', '{"a": 1}', '{', '{"a": {"b": "c"}}', '\x00'])
def test_choices_that_cannot_be_read_are_made_again(gpu, speeds, tmp_path, damage):
    chosen(tmp_path)
    (tmp_path / choose_provider.FILE).write_text(damage)
    speeds[CUDA] = 1.0
    assert chosen(tmp_path) == [CPU]


def test_a_gpu_that_cannot_be_used_is_left_out_and_it_is_said_why(gpu, speeds, tmp_path, caplog):
    gpu.fault = 'kernel'
    assert chosen(tmp_path) == [CPU]
    assert 'no kernel image' in caplog.text


def test_a_gpu_with_other_results_is_left_out(gpu, speeds, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(choose_provider, 'open_prepared', lambda f, o, *_: choose_provider.Model(
        f if o.providers[0] == CPU else MODELS / 'lfm2-past-conv-odd', o, False))
    assert chosen(tmp_path) == [CPU]
    assert 'differ too much from those of the CPU' in caplog.text


def test_an_export_that_only_a_gpu_can_run_runs_there(gpu, speeds, tmp_path, caplog):
    gpu.cpu_runs = False
    assert chosen(tmp_path, 'lfm2-fp16') == [CUDA]
    assert 'does not run on CPUExecutionProvider' in caplog.text
    gpu.fault = 'kernel'
    with pytest.raises(LfmError) as caught:
        chosen(tmp_path / 'other', 'lfm2-fp16')
    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert_one_line(caught.value.message, 'does not run on CPUExecutionProvider')


def test_a_gpu_is_given_other_graphs_of_a_model_than_the_cpu(gpu, speeds, tmp_path):
    for name in MODELS.joinpath('lfm2-fp16').iterdir():
        (tmp_path / name.name).symlink_to(name)
    (tmp_path / 'genai_config.json').unlink()
    source = (tmp_path / 'model.onnx').resolve()
    for suffix in ('_q4f16', '_quantized', '_fp16'):
        (tmp_path / f'model{suffix}.onnx').symlink_to(source)
    (tmp_path / 'vision_encoder_quantized.onnx').symlink_to(source)
    (tmp_path / 'vision_encoder_fp16.onnx').symlink_to(source)
    assert find_model(tmp_path).graph.name == 'model_quantized.onnx'
    assert find_model(tmp_path).vision.name == 'vision_encoder_quantized.onnx'
    found = find_model(tmp_path, on_device=True)
    assert (found.graph.name, found.vision.name) == \
        ('model_q4f16.onnx', 'vision_encoder_fp16.onnx')
    assert find_model(tmp_path, 'q8', on_device=True).graph.name == 'model_quantized.onnx'


def test_where_there_is_only_a_cpu_nothing_is_measured(gpu, tmp_path):
    gpu.providers = ['AzureExecutionProvider', CPU]
    assert chosen(tmp_path) == [CPU] and not gpu.opened and not list(tmp_path.iterdir())


def test_a_list_without_auto_stays_as_it_is(gpu, tmp_path):
    options = ModelOptions(providers=[CUDA, CPU])
    assert resolve(folder(DEFAULT), options, tmp_path) is options


def test_a_model_that_the_cpu_cannot_run_is_refused(gpu, tmp_path):
    with pytest.raises(LfmError) as caught:
        resolve(tmp_path, ModelOptions(providers=[AUTO]), tmp_path)
    assert caught.value.code == ErrorCode.MODEL_NOT_FOUND


def test_a_choice_that_cannot_be_kept_is_made_each_time(gpu, speeds, tmp_path, caplog):
    (tmp_path / 'cache').write_text('a file')
    found = resolve(folder(DEFAULT), ModelOptions(providers=[AUTO], threads=1),
                    tmp_path / 'cache')
    assert list(found.providers) == [CUDA, CPU]
    assert 'cannot be kept' in caplog.text


def test_options_without_a_provider_that_takes_them_are_refused(gpu, tmp_path):
    gpu.providers = [CPU]
    with pytest.raises(LfmError) as caught:
        chosen(tmp_path, provider_options={'device_id': '1'})
    assert caught.value.code == ErrorCode.INVALID_VALUE
    assert_one_line(caught.value.message, 'leave them out')
