# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A call of the model that hangs is ended and its turn undone, or everybody is told."""
from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
import threading

from hang_support import Hang
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.node.model_runtime import ModelRuntime
from lfm_ros.node.model_runtime import PrepareConfig
from lfm_ros.node.model_runtime import StorageConfig
from lfm_ros.prepare.pipeline import edit_losslessly
from lfm_ros.serving import watchdog
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.queue import REJECT
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.serving.watchdog import Watchdog
import onnx
from onnx import helper
from onnx import TensorProto
from prepare_support import edited
import pytest
from scheduler_support import answer_of
from scheduler_support import in_thread
from support import assert_same
from support import DEFAULT
from support import folder
from support import GREEDY
from support import LONG_TEXT
from support import open_model
from support import snapshot
from support import WAIT
import vision_support

from graph_folder import edit  # noqa: I100

TIMEOUT = 0.5  # seconds; a call of a fixture takes a hundredth of that


@pytest.fixture
def hang(monkeypatch):
    """Give the means to let a call hang, and shorten the time that it gets to end."""
    monkeypatch.setattr(watchdog, 'GRACE', TIMEOUT)
    found = Hang()
    found.install(monkeypatch.setattr)
    yield found
    found.release()


@pytest.fixture
def make():
    with ExitStack() as stack:
        def scheduling(model=None, **more):
            model = model or open_model(prefill_chunk=32, run_timeout=TIMEOUT)
            store = MissionStore(model, 'You are a robot.')
            scheduler = Scheduler(store, defaults=RequestDefaults(GREEDY, 8), **more)
            stack.callback(scheduler.stop)
            return scheduler
        yield scheduling


@pytest.mark.parametrize('call', [1, 3, 8])
def test_a_call_that_hangs_is_ended_and_its_turn_undone_and_the_next_one_is_answered(
        make, hang, call):
    scheduler = make()
    answer_of(scheduler, 'What?')
    in_thread(scheduler, lambda: scheduler.store.get('default').prefill_all())
    before = in_thread(scheduler, lambda: snapshot(scheduler.store.get('default')))
    hang.plan(call)
    answer = answer_of(scheduler, LONG_TEXT)
    assert (answer.error_code, answer.finish_reason) == (ErrorCode.MODEL_HUNG, 'error')
    assert f'{TIMEOUT:g} s' in answer.error_msg and 'model.run_timeout' in answer.error_msg
    assert hang.left.is_set() and scheduler.hung is None
    assert_same(in_thread(scheduler, lambda: snapshot(scheduler.store.get('default'))), before)
    assert answer_of(scheduler, LONG_TEXT).error_code == ErrorCode.NONE


def test_onnx_runtime_itself_ends_a_graph_that_runs_for_ever(make, tmp_path):
    token = open_model().tokenizer.encode('~')[0]
    endless = edit(folder(DEFAULT), tmp_path / 'endless', lambda m: make_endless(m, token))
    scheduler = make(Model(endless, ModelOptions(threads=1, run_timeout=TIMEOUT)))
    first = answer_of(scheduler, 'What?')
    assert answer_of(scheduler, 'And ~?').error_code == ErrorCode.MODEL_HUNG
    assert answer_of(scheduler, 'What?', mission_id='twin').text == first.text
    assert answer_of(scheduler, 'Go.').text == answer_of(
        scheduler, 'Go.', mission_id='twin').text


def make_endless(model: onnx.ModelProto, token: int) -> None:
    """Let a graph that reads this token count without end before it gives logits."""
    graph = model.graph
    logits = next(n for n in graph.node if 'logits' in n.output)
    logits.output[list(logits.output).index('logits')] = 'endless/logits'
    body = helper.make_graph(
        [helper.make_node('Identity', ['go'], ['go_on']),
         helper.make_node('Add', ['sum', 'endless/one'], ['sum_on'])], 'body',
        [helper.make_tensor_value_info('number', TensorProto.INT64, []),
         helper.make_tensor_value_info('go', TensorProto.BOOL, []),
         helper.make_tensor_value_info('sum', TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info('go_on', TensorProto.BOOL, []),
         helper.make_tensor_value_info('sum_on', TensorProto.FLOAT, [])])
    values = {'token': (TensorProto.INT64, token), 'often': (TensorProto.INT64, 1 << 60),
              'zero': (TensorProto.FLOAT, 0.0), 'one': (TensorProto.FLOAT, 1.0),
              'true': (TensorProto.BOOL, True)}
    graph.initializer.extend(helper.make_tensor(f'endless/{name}', kind, [], [value])
                             for name, (kind, value) in values.items())
    graph.node.extend([
        helper.make_node('Equal', ['input_ids', 'endless/token'], ['endless/found']),
        helper.make_node('Cast', ['endless/found'], ['endless/count'], to=TensorProto.INT64),
        helper.make_node('ReduceMax', ['endless/count'], ['endless/any'], keepdims=0),
        helper.make_node('Mul', ['endless/any', 'endless/often'], ['endless/times']),
        helper.make_node('Loop', ['endless/times', 'endless/true', 'endless/zero'],
                         ['endless/sum'], body=body),
        helper.make_node('Mul', ['endless/sum', 'endless/zero'], ['endless/nothing']),
        helper.make_node('Add', ['endless/logits', 'endless/nothing'], ['logits'])])


def test_answers_that_are_written_together_are_all_undone_and_can_be_asked_for_again(
        make, hang, tmp_path):
    graph, _ = edited(DEFAULT, tmp_path, edit_losslessly)
    model = Model(graph.parent, ModelOptions(threads=1, run_timeout=TIMEOUT))
    scheduler = make(model, parallel=4)
    prompts = {'a': 'What?', 'b': 'Where is it?'}
    together = threading.Event()

    def hang_together(*_):
        running = scheduler._running._running
        if len(running) == 2 and all(each.needs_decode_step for each in running) and \
                not together.is_set():
            together.set()
            hang.plan(1)

    def ask_both(on_delta=None):
        requests = [scheduler.submit(Query(p, m, max_tokens=30), on_delta)
                    for m, p in prompts.items()]
        return [request.wait(WAIT) for request in requests]
    failed = ask_both(hang_together)
    assert together.is_set()
    assert {answer.error_code for answer in failed} == {ErrorCode.MODEL_HUNG}
    assert [m for m in prompts if m in scheduler.store] == []
    assert {answer.error_code for answer in ask_both()} == {ErrorCode.NONE}


def test_reading_ahead_goes_on_with_other_missions_after_a_call_that_hung(make, hang):
    scheduler = make()
    hang.plan(1)
    scheduler.observe('a', 'It is dark.').result(WAIT)
    assert hang.left.wait(WAIT)
    scheduler.observe('b', 'It is light.').result(WAIT)
    for _ in range(1000):  # between two of these it reads
        if not in_thread(scheduler, lambda: scheduler.store.get('b').pending_sizes):
            break
    else:
        raise AssertionError('what came after the hang is not read ahead')
    assert answer_of(scheduler, 'What?', mission_id='a').error_code == ErrorCode.NONE


def test_other_work_that_hangs_fails_with_the_reason(make, hang):
    scheduler = make()
    answer_of(scheduler, 'What?')

    def work():
        hang.plan(1)
        return scheduler.store.model.warm_up()
    with pytest.raises(LfmError) as caught:
        in_thread(scheduler, work)
    assert caught.value.code == ErrorCode.MODEL_HUNG
    assert answer_of(scheduler, 'Go.').error_code == ErrorCode.NONE


@pytest.mark.parametrize('call', [1, 2])
def test_a_vision_encoder_and_an_embedder_that_hang_are_ended(make, hang, call):
    scheduler = make(vision_support.open_model(run_timeout=TIMEOUT))
    prepared = vision_support.image(seed=call)
    hang.plan(call)
    answer = answer_of(scheduler, 'What?', images=(prepared,))
    assert answer.error_code == ErrorCode.MODEL_HUNG
    assert answer_of(scheduler, 'What?', images=(prepared,)).error_code == ErrorCode.NONE


def test_who_cancels_a_call_that_hangs_is_told_so(make, hang):
    scheduler = make()
    hang.plan(2)
    request = scheduler.submit(Query(LONG_TEXT))
    assert hang.reached.wait(WAIT)
    request.cancel()
    assert request.wait(WAIT).error_code == ErrorCode.CANCELLED
    assert answer_of(scheduler, 'What?').error_code == ErrorCode.NONE


def test_a_call_that_can_not_be_ended_is_answered_to_everybody_exactly_once(make, hang):
    told, answers, lock = threading.Event(), Counter(), threading.Lock()
    reasons = []

    def on_answer(answer):
        with lock:
            answers[answer.mission_id, answer.error_code] += 1

    def on_hang(error):
        reasons.append(error)
        told.set()
    scheduler = make(on_hang=on_hang)
    answer_of(scheduler, 'What?', mission_id='kept')
    hang.plan(2, obeys=False)
    running = scheduler.submit(Query(LONG_TEXT, 'running'), on_answer=on_answer)
    assert hang.reached.wait(WAIT)
    waiting = [scheduler.submit(Query('?', name), on_answer=on_answer) for name in 'ab']
    work = scheduler.submit_job(lambda: 1, 'kept')
    assert told.wait(WAIT)
    error, = reasons
    assert error.code == ErrorCode.MODEL_HUNG and error is scheduler.hung
    for request in (running, *waiting):
        assert request.wait(0).error_code == ErrorCode.MODEL_HUNG
    assert work.exception(0) is error
    late = scheduler.submit(Query('?', 'late'), on_answer=on_answer)
    assert late.wait(0).error_code == ErrorCode.MODEL_HUNG
    assert scheduler.submit_job(lambda: 1).exception(0) is error
    scheduler.stop()  # waits for nobody
    hang.release()  # what comes back now has been answered
    assert hang.left.wait(WAIT)
    assert scheduler.alive, 'it goes on with a turn that was given up'
    assert answers == Counter({(n, 402): 1 for n in ('running', 'a', 'b', 'late')})
    assert scheduler.store.list()[0].turns == 1


def test_who_stops_while_a_call_hangs_for_good_does_not_wait_for_ever(make, hang):
    scheduler = make()
    hang.plan(1, obeys=False)
    request = scheduler.submit(Query('What?'))
    assert hang.reached.wait(WAIT)
    assert scheduler.stop()
    assert scheduler.hung and request.wait(0).error_code == ErrorCode.MODEL_HUNG


def test_work_in_progress_that_hangs_for_good_is_told(make, hang):
    scheduler = make()
    hang.plan(1, obeys=False)
    future = scheduler.submit_job(scheduler.store.model.warm_up)
    assert future.exception(WAIT).code == ErrorCode.MODEL_HUNG


def test_without_a_timeout_nobody_looks_on(make):
    scheduler = make(open_model(run_timeout=0.0))
    assert scheduler._watchdog is None
    assert answer_of(scheduler, 'What?').error_code == ErrorCode.NONE


def test_a_watchdog_of_a_busy_model_looks_once_in_the_time_that_a_call_may_take():
    class Busy:
        """A model whose calls have always just begun."""

        looks = 0
        seconds = 0.0
        enough = threading.Event()

        @property
        def current(self):
            self.looks += 1
            if self.looks >= 6:
                self.enough.set()
            return self

    busy = Busy()
    watching = Watchdog(busy, 0.05, lambda: None)
    assert busy.enough.wait(WAIT)
    watching.stop()
    assert not watching._thread.is_alive() and busy.looks <= 8


def test_a_scheduler_leaves_no_thread(make):
    before = threading.active_count()
    scheduler = make()
    assert answer_of(scheduler, 'What?').error_code == ErrorCode.NONE
    scheduler.stop()
    assert threading.active_count() == before


@pytest.mark.parametrize('obeys', [True, False])
def test_a_warm_up_that_hangs_fails_the_activation(hang, obeys):
    lost = threading.Event()
    runtime = ModelRuntime(lambda _: lost.set())
    runtime.open(folder(DEFAULT), ModelOptions(threads=1, run_timeout=TIMEOUT), '',
                 RetentionPolicy(), StorageConfig(), PrepareConfig(wanted=False))
    hang.plan(1, obeys)
    with pytest.raises(LfmError) as caught:
        runtime.start(8, REJECT, RequestDefaults())
    assert caught.value.code == ErrorCode.MODEL_HUNG
    if obeys:
        assert runtime.hung is None
        runtime.start(8, REJECT, RequestDefaults())
        assert answer_of(runtime.active_scheduler(), 'What?').error_code == ErrorCode.NONE
    else:
        assert lost.wait(WAIT) and runtime.not_active_error().code == ErrorCode.MODEL_HUNG
    runtime.close()
