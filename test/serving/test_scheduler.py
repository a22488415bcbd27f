# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests are answered in order, can be cancelled, and share the thread with other work."""
from contextlib import ExitStack

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import Sampling
from lfm_ros.errors import ErrorCode
from lfm_ros.prepare.pipeline import edit_losslessly
from lfm_ros.serving.answer import CANCELLED
from lfm_ros.serving.answer import TIMEOUT
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.scheduler import Scheduler
from prepare_support import edited
import pytest
from scheduler_support import answer_of
from scheduler_support import Gate
from scheduler_support import hold
from scheduler_support import in_thread
from scheduler_support import prefill_all
from scheduler_support import running
from scheduler_support import twin
from support import ask
from support import DEFAULT
from support import GREEDY
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


def test_an_answer_is_that_of_the_mission_alone(scheduler):
    mission = twin()
    for prompt in ('What?', 'Where is the dock?'):
        in_thread(scheduler, lambda: prefill_all(scheduler.store.get_or_create('m')))
        answer = answer_of(scheduler, prompt, mission_id='m')
        prefill_all(mission)
        turn = ask(mission, prompt)
        assert (answer.text, answer.finish_reason) == \
            (turn.generation.text, turn.generation.finish_reason)
        assert (answer.usage.prompt_tokens, answer.usage.cached_tokens,
                answer.usage.generated_tokens) == \
            (turn.prompt_tokens, turn.cached_tokens, len(turn.generation.ids))
    assert in_thread(scheduler, lambda: snapshot(scheduler.store.get('m'))['ids']) == mission.ids


def test_pieces_are_numbered_and_add_up_to_the_answer(scheduler):
    pieces = []
    answer = scheduler.submit(Query('What?', max_tokens=20), on_delta=pieces.append).wait(WAIT)
    assert [p.seq for p in pieces] == list(range(len(pieces)))
    assert [p.done for p in pieces] == [False] * (len(pieces) - 1) + [True]
    assert ''.join(p.text for p in pieces) == answer.text


def test_a_cancelled_request_in_the_queue_is_answered_while_another_runs(scheduler):
    gate, running = hold(scheduler)
    waiting = scheduler.submit(Query('Where?', 'other'))
    waiting.cancel()
    gate.opened.set()
    answer = waiting.wait(WAIT)
    assert (answer.finish_reason, answer.error_code) == (CANCELLED, ErrorCode.CANCELLED)
    assert running.wait(WAIT).error_code == ErrorCode.NONE


def test_a_cancelled_answer_leaves_the_mission_as_it_was(scheduler):
    answer_of(scheduler, 'What?', mission_id='held')
    before = in_thread(scheduler, lambda: list(scheduler.store.get('held').ids))
    gate, request = hold(scheduler)
    request.cancel()
    gate.opened.set()
    answer = request.wait(WAIT)
    assert (answer.finish_reason, answer.error_code) == (CANCELLED, ErrorCode.CANCELLED)
    assert answer.text and answer.text.startswith(gate.deltas[0].text)
    assert gate.deltas[-1].done
    assert in_thread(scheduler, lambda: list(scheduler.store.get('held').ids)) == before
    assert answer_of(scheduler, 'Go.', mission_id='held').error_code == ErrorCode.NONE


def test_a_timeout_in_the_queue_and_in_the_answer_are_told_apart(scheduler):
    gate, _ = hold(scheduler)
    waiting = scheduler.submit(Query('Where?', 'other', timeout=1e-6))
    gate.opened.set()
    answer = waiting.wait(WAIT)
    assert (answer.finish_reason, answer.error_code) == (TIMEOUT, ErrorCode.TIMEOUT_IN_QUEUE)

    late = Gate()
    request = scheduler.submit(Query('What?', 'm', max_tokens=60, timeout=3600), on_delta=late)
    assert late.reached.wait(WAIT)
    request.deadline = 0.0
    late.opened.set()
    answer = request.wait(WAIT)
    assert (answer.finish_reason, answer.error_code) == (TIMEOUT, ErrorCode.TIMEOUT)
    assert in_thread(scheduler, lambda: 'm' in scheduler.store) is False


@pytest.mark.parametrize('policy, codes', [
    ('reject', [ErrorCode.NONE, ErrorCode.NONE, ErrorCode.QUEUE_FULL]),
    ('drop_oldest', [ErrorCode.DISPLACED, ErrorCode.NONE, ErrorCode.NONE]),
    ('keep_last', [ErrorCode.DISPLACED, ErrorCode.DISPLACED, ErrorCode.NONE])])
def test_each_policy_answers_those_who_lose_their_place(make, policy, codes):
    scheduler = make(queue_size=2, policy=policy)
    gate, _ = hold(scheduler)
    requests = [scheduler.submit(Query(f'{n}?', 'm')) for n in range(3)]
    gate.opened.set()
    assert [r.wait(WAIT).error_code for r in requests] == codes


def test_work_on_the_mission_that_is_answered_waits_for_the_end_and_other_work_does_not(
        scheduler):
    gate, request = hold(scheduler)
    order = []
    own = scheduler.submit_job(lambda: order.append(('own', request.answer is not None)), 'held')
    other = scheduler.submit_job(lambda: order.append(('other', request.answer is not None)), 'x')
    gate.opened.set()
    other.result(WAIT)
    own.result(WAIT)
    assert order == [('other', False), ('own', True)]


def test_observations_are_read_while_idle_and_part_of_the_next_question(scheduler):
    mission = twin()
    for text in ('The battery is at 34 %.', LONG_TEXT):
        scheduler.observe('m', text).result(WAIT)
        mission.observe(text)
    answer = answer_of(scheduler, 'What?', mission_id='m')
    assert answer.text == ask(mission, 'What?').generation.text


def test_defaults_may_change_between_two_requests(scheduler):
    assert answer_of(scheduler, 'What?').usage.generated_tokens <= 6
    scheduler.defaults = RequestDefaults(Sampling(temperature=1.0, seed=3), 2)
    assert answer_of(scheduler, 'What?').usage.generated_tokens <= 2
    assert answer_of(scheduler, 'Go.', max_tokens=1).usage.generated_tokens == 1


def test_work_on_a_mission_waits_for_the_questions_that_came_before_it(scheduler):
    gate, _ = hold(scheduler)
    first = scheduler.submit(Query('What?', 'm'))
    scheduler.observe('m', 'It is dark.')
    fork = scheduler.submit_job(lambda: scheduler.store.fork('m', 'copy'), 'm', 'copy')
    second = scheduler.submit(Query('Where?', 'm'))
    gate.opened.set()
    for request in (first, second):
        assert request.wait(WAIT).error_code == ErrorCode.NONE
    fork.result(WAIT)
    copy, mission = scheduler.store.get('copy'), scheduler.store.get('m')
    assert [t.prompt for t in copy.turns] == ['What?']
    assert [t.prompt for t in mission.turns] == ['What?', 'Where?']
    assert copy.ids == mission.ids[:len(copy.ids)], 'the observation stands between both'


def test_a_question_that_is_refused_makes_no_mission(scheduler):
    answer = scheduler.submit(Query('word ' * 2000, 'never')).wait(WAIT)
    assert answer.error_code == ErrorCode.PROMPT_TOO_LONG
    assert in_thread(scheduler, lambda: 'never' in scheduler.store) is False


def test_a_queue_without_places_still_serves_an_idle_model(make):
    scheduler = make(queue_size=0)
    assert scheduler.submit(Query('What?', 'm')).wait(WAIT).error_code == ErrorCode.NONE


def test_what_is_told_to_a_fork_does_not_overtake_the_fork():
    with running() as scheduler:
        gate, request = hold(scheduler, 'a', tokens=5)
        fork = scheduler.submit_job(lambda: scheduler.store.fork('a', 'b'), 'a', 'b')
        told = scheduler.observe('b', 'It is dark.')
        gate.opened.set()
        request.wait(WAIT)
        fork.result(WAIT)
        told.result(WAIT)
        turns = scheduler.submit_job(lambda: scheduler.store.get('b').turn_count).result(WAIT)
        assert turns == 1


def test_a_question_to_a_fork_does_not_overtake_the_fork(tmp_path):
    graph, _ = edited(DEFAULT, tmp_path, edit_losslessly)
    store = MissionStore(Model(graph.parent, ModelOptions(threads=1)), 'You are a robot.')
    scheduler = Scheduler(store, defaults=RequestDefaults(GREEDY, 6), parallel=4)
    try:
        gate, request = hold(scheduler, 'a', tokens=5)
        fork = scheduler.submit_job(lambda: store.fork('a', 'b'), 'a', 'b')
        asked = scheduler.submit(Query('And now?', 'b'))
        gate.opened.set()
        assert request.wait(WAIT).error_code == asked.wait(WAIT).error_code == ErrorCode.NONE
        fork.result(WAIT)
        assert scheduler.submit_job(lambda: store.get('b').turn_count).result(WAIT) == 2
    finally:
        scheduler.stop()
