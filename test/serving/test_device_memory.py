# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The memory of a device has a limit of its own: what is too much goes to the host or the disk."""
from __future__ import annotations

from contextlib import closing
import ctypes

import device_memory
from lfm_ros.engine.runtime import cuda_driver
from lfm_ros.engine.runtime.ort_errors import DeviceLostError
from lfm_ros.engine.runtime.ort_errors import run_error
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.memory_budget import with_budgets
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.storage import Storage
import pytest
from support import ask
from support import assert_one_line
from support import GREEDY
from support import open_model
from support import snapshot
from support import text_of
from support import WAIT

WORDS = ['Where is the box?', 'And the dock?', 'Who is there?', 'What now?']


@pytest.fixture(autouse=True)
def on_a_device(monkeypatch):
    monkeypatch.setenv(device_memory.VARIABLE, device_memory.DEVICE_KIND)
    device_memory.install(monkeypatch.setattr)


def make_store(place=None, **limits):
    model = open_model()
    return MissionStore(model, 'You are a robot.', RetentionPolicy(**limits),
                        Storage(place, model))


def resident(store):
    """Return the missions whose states are on the device."""
    return {name for name, record in store._records.items()
            if record.mission and not record.mission.offloaded}


def test_missions_that_do_not_fit_the_device_go_to_the_host_and_answer_as_before():
    store, twin = make_store(), make_store()
    for name in 'abcd':
        ask(store.get_or_create(name), WORDS[0])
        ask(twin.get_or_create(name), WORDS[0])
    store.memory.device_limit = store.memory.device_nbytes * 3 // 5
    for round_ in range(12):
        name = 'abcd'[round_ * round_ % 4]
        mission = store.get(name)
        store.memory.reserve(mission, len(mission.ids) + 30)
        assert not mission.offloaded
        assert store.memory.device_nbytes <= store.memory.device_limit
        prompt = WORDS[round_ % 4]
        assert text_of(mission, prompt) == text_of(twin.get(name), prompt)
        store.commit(name)
    assert 0 < len(resident(store)) < 4
    assert all(info.resident for info in store.list()), 'none had to leave the memory'
    before = snapshot(twin.get('a'))
    assert snapshot(store.get('a'))['position'] == before['position']


def test_a_mission_that_is_offloaded_counts_where_it_is():
    store = make_store()
    mission = store.get_or_create('a')
    ask(mission, WORDS[0])
    on_device, on_host = store.memory.device_nbytes, store.memory.nbytes
    size = mission.device_nbytes
    assert size > 0
    assert store.memory.offload_oldest()
    assert store.memory.device_nbytes == on_device - size
    assert on_host < store.memory.nbytes
    assert not store.memory.offload_oldest(), 'the system prompt stays'
    store.get('a')
    assert (store.memory.device_nbytes, store.memory.nbytes) == (on_device, on_host)


def test_where_the_host_is_full_too_missions_go_to_the_disk(tmp_path):
    with closing(Storage(tmp_path, open_model())) as storage:
        store = MissionStore(open_model(), 'You are a robot.', storage=storage)
        for name in 'ab':
            ask(store.get_or_create(name), WORDS[0])
            store.commit(name)
        store.memory.limit = store.memory.nbytes + 1
        assert store.memory.offload_oldest('b')
        assert {info.mission_id for info in store.list() if info.resident} == {'b'}
        assert store.get('a').turn_count == 1


def test_what_can_never_fit_the_device_is_refused_with_numbers():
    store = make_store()
    mission = store.get_or_create('a')
    store.memory.device_limit = store.memory.device_nbytes + 10
    with pytest.raises(LfmError) as caught:
        store.memory.reserve(mission, 500)
    assert caught.value.code == ErrorCode.OVER_BUDGET
    assert_one_line(caught.value.message, 'MB more on the device', 'memory.device_budget_mb')


@pytest.mark.parametrize('operation', ['fork', 'rewind', 'observe', 'save', 'evict', 'reset'])
def test_an_offloaded_mission_can_be_all_that_others_can(operation, tmp_path):
    stores = []
    for number in range(2):
        store = make_store(tmp_path / str(number))
        for prompt in WORDS[:2]:
            ask(store.get_or_create('a'), prompt)
            store.commit('a')
        stores.append(store)
    store, twin = stores
    store.memory.offload_oldest()
    for each in stores:
        if operation == 'fork':
            each.fork('a', 'b')
        elif operation == 'rewind':
            each.rewind('a', 1)
        elif operation == 'observe':
            each.observe('a', 'It is dark.')
        else:
            getattr(each, operation)('a')
    names = [info.mission_id for info in twin.list()]
    assert [info.mission_id for info in store.list()] == names
    for name in names:
        assert text_of(store.get(name), WORDS[2]) == text_of(twin.get(name), WORDS[2])
    for each in stores:
        each.storage.close()


def test_a_budget_of_the_device_holds_what_the_model_takes_there():
    model = open_model(max_batch_size=3)
    policy = with_budgets(RetentionPolicy(), model, 0, 64, None)
    assert policy.device_bytes_limit == (64 << 20) - model.runner.lanes_nbytes
    model.memory.free_bytes = lambda: 10 << 20
    try:
        policy = with_budgets(RetentionPolicy(), model, 0, 64, 30 << 20)
        with pytest.raises(LfmError) as caught:
            with_budgets(RetentionPolicy(), model, 0, 20, 30 << 20)
    finally:
        del model.memory.free_bytes
    assert policy.device_bytes_limit == 44 << 20
    assert caught.value.code == ErrorCode.BUDGET_TOO_SMALL
    assert_one_line(caught.value.message, 'memory.device_budget_mb is 20', 'set it to')


def test_where_memory_is_shared_the_budget_of_the_process_counts_the_device(monkeypatch):
    model = open_model()
    monkeypatch.setattr(model.memory, 'separate', False)
    monkeypatch.setattr(model.memory, 'free_bytes', lambda: 100 << 20, raising=False)
    alone = with_budgets(RetentionPolicy(), model, 4000, 0, 100 << 20)
    with_device = with_budgets(RetentionPolicy(), model, 4000, 0, 400 << 20)
    taken = alone.state_bytes_limit - with_device.state_bytes_limit
    assert abs(taken - (300 << 20)) < 20 << 20  # the RSS grows in between
    assert not with_device.device_bytes_limit


def test_a_jetson_has_no_memory_of_its_own_to_offload_to(monkeypatch):
    store = make_store()
    monkeypatch.setattr(store.model.memory, 'separate', False)
    ask(store.get_or_create('a'), WORDS[0])
    assert store.memory.device_nbytes == 0
    assert store.memory.offload_oldest()
    assert not store.list()[0].resident


class Failing:
    """Runs of a model that fail as a GPU does, as often as they are told to."""

    def __init__(self, model, text):
        self.text, self.times = text, 0
        self.run = model.runs.run
        model.runs.run = self

    def __call__(self, work, *arguments, **more):
        if self.times:
            self.times -= 1
            work = self.fail
        return self.run(work, *arguments, **more)

    def fail(self, _):
        raise RuntimeError(self.text)


@pytest.fixture
def scheduler():
    model = open_model(variant='', prefill_chunk=16)
    store = MissionStore(model, 'You are a robot.')
    hung = []
    scheduler = Scheduler(store, defaults=RequestDefaults(GREEDY, 6), on_hang=hung.append)
    scheduler.hangs = hung
    yield scheduler
    scheduler.stop()
    model.runs.__dict__.pop('run', None)
    model.runs.lost = model.memory.lost = None


def test_a_turn_without_memory_on_the_device_is_tried_once_more_with_less_there(scheduler):
    expected = scheduler.submit(Query(WORDS[0], 'a')).wait(WAIT).text
    scheduler.submit(Query(WORDS[0], 'other')).wait(WAIT)
    failing = Failing(scheduler.store.model, 'CUDA failure 2: out of memory')
    failing.times = 1
    answer = scheduler.submit(Query(WORDS[0], 'b')).wait(WAIT)
    assert (answer.error_code, answer.text) == (ErrorCode.NONE, expected)
    assert resident(scheduler.store) == {'b', 'other'}, 'the oldest one went'


def test_a_turn_without_memory_on_the_device_is_refused_the_second_time_with_numbers(scheduler):
    scheduler.submit(Query(WORDS[0], 'a')).wait(WAIT)
    before = snapshot(scheduler.store.get('a'))
    failing = Failing(scheduler.store.model, 'CUDA failure 2: out of memory')
    failing.times = 2
    answer = scheduler.submit(Query(WORDS[1], 'a')).wait(WAIT)
    assert answer.error_code == ErrorCode.OUT_OF_MEMORY
    assert_one_line(answer.error_msg, 'missions take', 'MB on the device')
    failing.times = 0
    found = snapshot(scheduler.store.get('a'))
    assert found['ids'] == before['ids']
    assert scheduler.submit(Query(WORDS[1], 'a')).wait(WAIT).error_code == ErrorCode.NONE


LOST = ['CUDA failure 700: an illegal memory access was encountered ; GPU=0',
        'CUDA error cudaErrorLaunchFailure:unspecified launch failure',
        'CUDA failure 214: uncorrectable ECC error encountered']


@pytest.mark.parametrize('text', LOST)
def test_a_gpu_that_fails_for_good_ends_the_thread_of_the_model_after_answering(scheduler, text):
    scheduler.submit(Query(WORDS[0], 'a')).wait(WAIT)
    failing = Failing(scheduler.store.model, text)
    failing.times = 1
    requests = [scheduler.submit(Query(prompt, 'a')) for prompt in WORDS[1:3]]
    answers = [request.wait(WAIT) for request in requests]
    assert {answer.error_code for answer in answers} == {ErrorCode.MODEL_HUNG}
    for answer in answers:
        assert_one_line(answer.error_msg, 'the GPU has failed', 'restart the process')
    assert isinstance(scheduler.hung, DeviceLostError) and scheduler.hangs == [scheduler.hung]
    late = scheduler.submit(Query(WORDS[3], 'a')).wait(WAIT)
    assert late.error_code == ErrorCode.MODEL_HUNG


def test_a_gpu_that_fails_in_a_job_ends_the_thread_too(scheduler):
    scheduler.submit(Query(WORDS[0], 'a')).wait(WAIT)

    def fail():
        raise run_lost(scheduler.store.model)
    job = scheduler.submit_job(fail)
    with pytest.raises(DeviceLostError):
        job.result(WAIT)
    assert scheduler.submit(Query(WORDS[1], 'a')).wait(WAIT).error_code == ErrorCode.MODEL_HUNG
    assert scheduler.hangs


def run_lost(model):
    """Return the error of a GPU that is lost, as a small graph on it meets it."""
    model.memory.lost = run_error(RuntimeError(LOST[0]))
    return model.memory.lost


def test_errors_of_small_graphs_are_explained():
    memory = device_memory.new_memory()
    with pytest.raises(LfmError) as caught:
        memory.run('read', {}, {}, None)
    assert caught.value.code == ErrorCode.MODEL_RUN_FAILED
    assert_one_line(caught.value.message, 'memory of the device')


class Driver:
    """Libraries of the driver of a GPU that has 8 GB, of which 3 are free."""

    integrated = 0

    def cuInit(self, _):  # noqa: N802
        return 0

    def cuDeviceGet(self, device, number):  # noqa: N802
        return int(number > 0)

    def cuDeviceGetAttribute(self, found, attribute, _):  # noqa: N802
        assert attribute == 18
        found._obj.value = self.integrated
        return 0

    def nvmlInit_v2(self):  # noqa: N802
        return 0

    def cuDeviceGetPCIBusId(self, address, size, device):  # noqa: N802
        address.value = b'0000:0F:00.0'
        return 0

    def nvmlDeviceGetHandleByPciBusId_v2(self, address, handle):  # noqa: N802
        self.asked = address
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle, memory):  # noqa: N802
        memory._obj.free = 3 << 30
        return 0


@pytest.fixture
def driver(monkeypatch):
    found = Driver()
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: found)
    cuda_driver._load.cache_clear()
    yield found
    cuda_driver._load.cache_clear()


def test_the_driver_is_asked_what_is_free(driver):
    assert cuda_driver.free_bytes(0) == 3 << 30 and not cuda_driver.is_integrated(0)
    assert driver.asked == b'0000:0F:00.0'
    assert cuda_driver.free_bytes(1) is None, 'there is none of this number'
    assert not cuda_driver.is_integrated(1)


def test_on_a_board_that_shares_its_memory_that_of_the_host_is_free(driver, monkeypatch, tmp_path):
    driver.integrated = 1
    (tmp_path / 'meminfo').write_text('MemTotal: 9 kB\nMemAvailable:    2048 kB\n')
    monkeypatch.setattr(cuda_driver, '_MEMINFO', tmp_path / 'meminfo')
    monkeypatch.setattr(cuda_driver, 'rss_bytes', lambda: 1000)
    assert cuda_driver.is_integrated(0) and cuda_driver.free_bytes(0) == (2 << 20) + 1000


def test_where_there_is_no_driver_nothing_is_known(monkeypatch):
    def missing(name):
        raise OSError(name)
    monkeypatch.setattr(ctypes, 'CDLL', missing)
    cuda_driver._load.cache_clear()
    assert cuda_driver.free_bytes(0) is None and not cuda_driver.is_integrated(0)
    cuda_driver._load.cache_clear()
