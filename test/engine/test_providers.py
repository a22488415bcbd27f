# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model runs on the first of its execution providers that can, and tells why on that one."""
from __future__ import annotations

import logging

from gpu_support import CPU
from gpu_support import CUDA
from gpu_support import FAULTS
from gpu_support import Gpu
from gpu_support import TENSORRT
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.providers import open_on_best
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.scheduler import Scheduler
import pytest
from support import assert_one_line
from support import DEFAULT
from support import folder
from support import GREEDY
from support import LONG_TEXT
from support import new_mission
from support import open_model
from support import text_of
from support import WAIT
import vision_support

import damage  # noqa: I100


@pytest.fixture
def gpu(monkeypatch):
    found = Gpu()
    found.install(monkeypatch.setattr)
    return found


def opened(*providers, path=None, **options):
    options = ModelOptions(providers=providers, threads=1, **options)
    return open_on_best(lambda o: Model(path or folder(DEFAULT), o), options)


def refused(*providers, **more):
    with pytest.raises(LfmError) as caught:
        opened(*providers, **more)
    assert_one_line(caught.value.message)
    return caught.value


def test_a_gpu_that_works_runs_the_model(gpu, caplog):
    model, notice = opened(CUDA, CPU)
    assert model.describe()['providers'] == [CUDA, CPU] and gpu.calls
    assert (notice, caplog.text) == ('', '')


@pytest.mark.parametrize('providers', [(CUDA, CPU), (CUDA,)], ids=['listed', 'implied'])
@pytest.mark.parametrize('fault', FAULTS)
def test_a_gpu_that_cannot_be_used_gives_way_to_the_cpu_and_it_is_said_why(
        gpu, caplog, capfd, fault, providers):
    gpu.fault = fault
    model, notice = opened(*providers)
    assert model.describe()['providers'] == [CPU]
    assert_one_line(notice, f'runs on {CPU}', FAULTS[fault])
    assert caplog.record_tuples == [('lfm_ros.engine.providers', logging.WARNING, notice)]
    assert text_of(new_mission(model), 'What?') == text_of(new_mission(open_model()), 'What?')
    assert ''.join(capfd.readouterr()) == '', 'ONNX Runtime speaks beside the log'


@pytest.mark.parametrize('fault', FAULTS)
def test_without_fallback_a_gpu_that_cannot_be_used_is_an_error(gpu, fault):
    gpu.fault = fault
    error = refused(CUDA, CPU, fallback=False)
    assert error.code == (ErrorCode.OUT_OF_MEMORY if fault == 'weights' else
                          ErrorCode.PROVIDER_UNAVAILABLE)
    assert FAULTS[fault] in error.message
    assert gpu.opened == [[CUDA, CPU]]


def test_a_gpu_without_memory_for_the_warm_up_gives_way(gpu):
    Model(folder(DEFAULT), ModelOptions(providers=[CUDA], threads=1))
    gpu.memory_for = gpu.calls  # as many as it takes to open it
    model, notice = opened(CUDA)
    assert model.describe()['providers'] == [CPU] and 'ran out of memory' in notice


def test_a_gpu_that_gives_no_numbers_gives_way(gpu, tmp_path):
    gpu.graph = str(damage.not_a_number(folder(DEFAULT), tmp_path / 'nan') / 'model.onnx')
    model, notice = opened(CUDA)
    assert model.describe()['providers'] == [CPU] and 'NaN or infinite' in notice


def test_the_next_provider_is_tried_before_the_cpu(gpu):
    gpu.providers, gpu.fault = [TENSORRT, CUDA, CPU], 'kernel'
    model, notice = opened(CUDA, TENSORRT)
    assert model.describe()['providers'] == [TENSORRT, CPU]
    assert gpu.opened == [[CUDA, TENSORRT, CPU], [TENSORRT, CPU]]
    assert_one_line(notice, f'runs on {TENSORRT}', FAULTS['kernel'])


def test_a_provider_that_this_build_lacks_gives_way_to_one_that_it_has(gpu):
    model, notice = opened(TENSORRT, CUDA, CPU)
    assert model.describe()['providers'] == [CUDA, CPU]
    assert_one_line(notice + ': so', f'has no {TENSORRT}')
    gpu.fault = 'kernel'
    model, notice = opened(TENSORRT, CUDA)
    assert model.describe()['providers'] == [CPU]
    assert f'has no {TENSORRT}' in notice and FAULTS['kernel'] in notice


@pytest.mark.parametrize('providers', [(TENSORRT,), ('NoSuchProvider', TENSORRT), ()])
def test_a_list_of_which_this_build_has_none_is_refused(gpu, providers):
    error = refused(*providers)
    assert error.code == ErrorCode.PROVIDER_UNAVAILABLE and CUDA in error.message
    assert not gpu.opened


def test_a_provider_that_this_build_lacks_is_refused_without_fallback(gpu):
    assert refused(TENSORRT, CPU, fallback=False).code == ErrorCode.PROVIDER_UNAVAILABLE


def test_a_model_that_no_provider_can_run_is_refused_with_the_reasons_of_all(gpu):
    gpu.fault = 'library'
    error = refused(CUDA, path=folder('difficult/lfm2-fp16-gpu'))
    assert error.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert CPU in error.message and FAULTS['library'] in error.message


def test_a_damaged_model_is_named_once(gpu, tmp_path):
    error = refused(CUDA, path=damage.not_a_number(folder(DEFAULT), tmp_path / 'nan'))
    assert error.code == ErrorCode.MODEL_DAMAGED and error.message.count('NaN or infinite') == 1


def test_a_missing_file_is_missing_for_every_provider(gpu, tmp_path):
    assert refused(CUDA, path=tmp_path / 'nothing').code == ErrorCode.MODEL_NOT_FOUND
    assert not gpu.opened


def test_the_cpu_that_takes_over_runs_what_was_prepared_for_it(gpu, tmp_path):
    gpu.fault = 'silent'
    options = ModelOptions(providers=[CUDA], threads=1)
    model, _ = open_on_best(
        lambda o: open_prepared(folder(DEFAULT), o, cache_dir=tmp_path), options)
    assert model.describe()['prepared'] and model.runner.max_batch_size > 1


def test_a_vision_encoder_goes_where_its_model_goes(gpu):
    gpu.fault = 'silent'
    model, _ = opened(CUDA, path=vision_support.folder())
    assert model.vision and gpu.opened[-1] == [CPU]


def test_a_gpu_that_runs_out_of_memory_in_a_mission_undoes_the_turn_and_stays_usable(gpu):
    model, _ = opened(CUDA, prefill_chunk=16)
    scheduler = Scheduler(MissionStore(model), defaults=RequestDefaults(GREEDY, 8))
    try:
        first = scheduler.submit(Query('What?')).wait(WAIT)
        before = scheduler.submit_job(lambda: list(
            scheduler.store.get('default').ids)).result(WAIT)
        gpu.memory_for = 3
        failed = scheduler.submit(Query(LONG_TEXT)).wait(WAIT)
        assert failed.error_code == ErrorCode.OUT_OF_MEMORY
        assert scheduler.submit_job(
            lambda: list(scheduler.store.get('default').ids)).result(WAIT) == before
        gpu.memory_for = -1
        again = scheduler.submit(Query('What?', 'other')).wait(WAIT)
        assert (again.error_code, again.text) == (0, first.text)
        assert scheduler.submit(Query(LONG_TEXT)).wait(WAIT).error_code == 0
    finally:
        scheduler.stop()
