# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every request is answered exactly once, whatever fails, and the thread lives on."""
from collections import Counter
from contextlib import ExitStack
import logging
import random
import threading

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.jobs import MAX_JOBS
from lfm_ros.serving.query import Query
from lfm_ros.serving.queue import POLICIES
from lfm_ros.serving.scheduler import Scheduler
import pytest
from scheduler_support import answer_of
from scheduler_support import hold
from scheduler_support import in_thread
from scheduler_support import prefill_all
from scheduler_support import running
from scheduler_support import twin
from support import ask
from support import assert_same
from support import FailingRunner
from support import LONG_TEXT
from support import snapshot
from support import WAIT


@pytest.fixture
def make():
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(**options))


@pytest.fixture
def scheduler(make):
    return make()


@pytest.mark.parametrize('query, code', [
    (Query(''), ErrorCode.EMPTY_PROMPT), (Query(' \n'), ErrorCode.EMPTY_PROMPT),
    (Query('a\ufffd'), ErrorCode.INVALID_TEXT), (Query('?', '../x'), ErrorCode.INVALID_MISSION_ID),
    (Query('?', max_tokens=-1), ErrorCode.INVALID_VALUE),
    (Query('?', timeout=float('nan')), ErrorCode.INVALID_VALUE),
    (Query('?', timeout=float('inf')), ErrorCode.INVALID_VALUE),
    (Query('?', timeout=-1.0), ErrorCode.INVALID_VALUE),
    (Query('?', stop=('x',) * 99), ErrorCode.INVALID_VALUE),
    (Query('?', sampling={'temperature': 9e9}), ErrorCode.INVALID_SAMPLING),
    (Query('?', sampling={'top_p': float('nan')}), ErrorCode.INVALID_SAMPLING),
    (Query('x' * (1 << 21)), ErrorCode.PROMPT_TOO_LONG),
    (Query('far too long ' * 200), ErrorCode.PROMPT_TOO_LONG)])
def test_what_can_not_be_answered_is_refused_with_a_sentence(scheduler, query, code):
    answers = []
    answer = scheduler.submit(query, on_answer=answers.append).wait(WAIT)
    assert answer.error_code == code and answer.finish_reason == 'error'
    assert ': ' in answer.error_msg and '\n' not in answer.error_msg
    assert answers == [answer]


def test_a_model_that_fails_answers_with_its_error_and_works_again(scheduler, monkeypatch):
    model = scheduler.store.model
    answer_of(scheduler, 'What?')
    before = in_thread(scheduler, lambda: snapshot(scheduler.store.get('default')))
    for error, code in ((LfmError(ErrorCode.MODEL_RUN_FAILED, 'it failed: try again'), 400),
                        (MemoryError(), ErrorCode.INTERNAL), (ValueError('x'), 500)):
        with monkeypatch.context() as patch:
            patch.setattr(model, 'runner', FailingRunner(model.runner, 4, error))
            answer = answer_of(scheduler, LONG_TEXT)
        assert answer.error_code == code and answer.finish_reason == 'error'
        after = in_thread(scheduler, lambda: snapshot(scheduler.store.get('default')))
        assert after['ids'] == before['ids'] and after['turns'] == before['turns']
    assert answer_of(scheduler, 'Go.').error_code == ErrorCode.NONE


@pytest.mark.parametrize('error', [
    LfmError(ErrorCode.MODEL_RUN_FAILED, 'it failed: try again'), MemoryError(), RuntimeError()],
    ids=lambda e: type(e).__name__)
def test_a_failure_while_reading_ahead_does_not_end_the_thread(scheduler, monkeypatch, error):
    model = scheduler.store.model
    reached = threading.Event()

    class Failing(FailingRunner):

        def run(self, *arguments, **more):
            reached.set()
            return super().run(*arguments, **more)
    with monkeypatch.context() as patch:
        patch.setattr(model, 'runner', Failing(model.runner, 1, error))
        scheduler.observe('m', 'It is dark.').result(WAIT)
        assert reached.wait(WAIT)
    assert answer_of(scheduler, 'What?', mission_id='m').error_code == ErrorCode.NONE


def test_receivers_that_raise_hurt_nobody(scheduler):
    def bad(_):
        raise RuntimeError('gone')
    logging.disable(logging.CRITICAL)
    try:
        request = scheduler.submit(Query('What?'), on_delta=bad, on_answer=bad)
        assert request.wait(WAIT).error_code == ErrorCode.NONE
        refused = scheduler.submit(Query(''), on_delta=bad, on_answer=bad)
        assert refused.wait(WAIT).error_code == ErrorCode.EMPTY_PROMPT
        assert answer_of(scheduler, 'Go.').error_code == ErrorCode.NONE
    finally:
        logging.disable(logging.NOTSET)


def test_an_error_in_work_is_given_to_who_asked_for_it(scheduler):
    def fail():
        raise KeyError('x')
    with pytest.raises(KeyError):
        in_thread(scheduler, fail)
    with pytest.raises(LfmError):
        in_thread(scheduler, lambda: scheduler.store.get('nobody'))


def test_work_whose_future_was_cancelled_is_not_done_and_ends_nothing(scheduler):
    gate, request = hold(scheduler)
    done = []
    future = scheduler.submit_job(lambda: done.append(1))
    assert future.cancel()
    gate.opened.set()
    assert request.wait(WAIT).error_code == ErrorCode.NONE
    assert answer_of(scheduler, 'What?').error_code == ErrorCode.NONE
    assert not done


def test_too_much_work_is_refused(scheduler):
    gate, _ = hold(scheduler)
    futures = [scheduler.submit_job(lambda: None, 'held') for _ in range(MAX_JOBS + 1)]
    with pytest.raises(LfmError) as caught:
        futures[-1].result(WAIT)
    assert caught.value.code == ErrorCode.QUEUE_FULL
    gate.opened.set()
    assert [f.result(WAIT) for f in futures[:-1]] == [None] * MAX_JOBS


def test_stopping_answers_everything_and_ends_the_thread(scheduler):
    gate, running = hold(scheduler)
    answers = []
    waiting = [scheduler.submit(Query('?', str(n)), on_answer=answers.append) for n in range(4)]
    own = scheduler.submit_job(lambda: 5, 'held')
    stopper = threading.Thread(target=scheduler.stop)
    stopper.start()
    while not running.cancelled:  # stop() has come as far as that
        stopper.join(0.001)
    gate.opened.set()
    stopper.join(WAIT)
    assert not stopper.is_alive() and not scheduler.alive
    assert running.wait(0).error_code == ErrorCode.CANCELLED
    assert [r.wait(0).error_code for r in waiting] == [ErrorCode.CANCELLED] * 4
    assert len(answers) == 4 and own.result(0) == 5
    assert 'held' not in scheduler.store, 'its only turn was undone'
    late = scheduler.submit(Query('?'))
    assert late.wait(0).error_code == ErrorCode.NOT_ACTIVE
    with pytest.raises(LfmError):
        scheduler.submit_job(lambda: None).result(0)
    scheduler.stop()  # a second time


def test_missions_go_on_under_another_scheduler(make):
    first, mission = make(), twin()
    assert answer_of(first, 'What?', mission_id='m').text == ask(mission, 'What?').generation.text
    first.stop()
    second = Scheduler(first.store, defaults=first.defaults)
    answer = answer_of(second, 'Go.', mission_id='m')
    second.stop()
    assert answer.text == ask(mission, 'Go.').generation.text
    prefill_all(mission)
    prefill_all(first.store.get('m'))
    assert_same(snapshot(first.store.get('m')), snapshot(mission))


@pytest.mark.parametrize('policy', POLICIES)
def test_every_request_of_a_flood_is_answered_exactly_once(make, policy):
    scheduler = make(queue_size=4, policy=policy)
    answers, requests = Counter(), []
    lock = threading.Lock()

    def answered(answer):
        with lock:
            answers[answer.request_id] += 1

    def flood(seed):
        chance = random.Random(seed)
        for number in range(12):
            query = Query('?' * chance.randint(0, 3), chance.choice('abc'), f'{seed}-{number}',
                          max_tokens=chance.randint(1, 4), aside=chance.random() < 0.3,
                          timeout=chance.choice([0.0, 0.0, 1e-6, 30.0]))
            request = scheduler.submit(query, on_answer=answered)
            with lock:
                requests.append(request)
            action = chance.random()
            if action < 0.2:
                request.cancel()
            elif action < 0.4:
                scheduler.observe(query.mission_id, 'x').exception(WAIT)
            elif action < 0.6:
                request.wait(WAIT)
    threads = [threading.Thread(target=flood, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for request in requests:
        request.wait(WAIT)
    scheduler.stop()
    assert answers == Counter({r.request_id: 1 for r in requests})
    assert len(requests) == 96
    assert scheduler.queue_length == 0 and scheduler.running is None


def test_a_receiver_may_ask_again_and_stop_the_scheduler(make):
    scheduler = make()
    second, ended = [], threading.Event()

    def ask_again(_):
        second.append(scheduler.submit(Query('And?'), on_answer=lambda _: stop()))

    def stop():
        scheduler.stop()
        ended.set()
    scheduler.submit(Query('What?'), on_answer=ask_again)
    assert ended.wait(WAIT)
    scheduler.stop()  # waits for the end of the thread
    assert not scheduler.alive
    assert second[0].wait(0).error_code == ErrorCode.NONE
