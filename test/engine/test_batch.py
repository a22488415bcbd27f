# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several missions are answered together: each as if it were alone."""
from __future__ import annotations

from contextlib import closing
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
import json
import re
import threading

import device_memory
from lfm_ros.engine.chunks import BATCHED
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.errors import ErrorCode
from lfm_ros.prepare.pipeline import edit_losslessly
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.storage import Storage
import numpy as np
from prepare_support import edited
import pytest
from support import ask
from support import assert_same
from support import begin
from support import check_invariants
from support import check_read_again
from support import DEFAULT
from support import GREEDY
from support import LONG_TEXT
from support import MODELS
from support import snapshot
from support import WAIT

NAMES = (DEFAULT, 'lfm2-past-conv-odd', 'lfm2-int4', 'qwen3')
MISSIONS = ('a', 'b', 'c', 'd')


@pytest.fixture(scope='module', params=NAMES)
def model(request, tmp_path_factory, memory_kind):
    return prepared(request.param, tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def small(tmp_path_factory, memory_kind):
    return prepared(DEFAULT, tmp_path_factory.mktemp('model'))


def prepared(name, target, **options):
    edit = edit_losslessly
    if device_memory.is_device():  # there lanes need no edit
        edit = partial(edit_losslessly, lanes=1)
    graph, _ = edited(name, target, edit)
    return Model(graph.parent, ModelOptions(threads=1, prefill_chunk=32, **options))


@contextmanager
def scheduling(model, tokens=12, retention=RetentionPolicy(), **more):
    """Run a scheduler that answers four missions at once."""
    store = MissionStore(model, 'You are a robot.', retention)
    scheduler = Scheduler(store, defaults=RequestDefaults(GREEDY, tokens), parallel=4, **more)
    try:
        yield scheduler
    finally:
        scheduler.stop()


def ask_all(scheduler, prompts, **more):
    """Ask all missions at once: the thread of the model is held until all have come."""
    gate = threading.Event()
    held = scheduler.submit_job(lambda: gate.wait(WAIT))
    requests = [scheduler.submit(Query(prompt, mission, **more))
                for mission, prompt in prompts.items()]
    gate.set()
    held.result(WAIT)
    return [request.wait(WAIT) for request in requests]


def mission_of(scheduler, name):
    return scheduler.submit_job(lambda: scheduler.store.get(name)).result(WAIT)


def test_prepared_models_step_together(model):
    assert model.runner.max_batch_size == 4
    assert model.runner.can_rollback


@pytest.mark.parametrize('count', [2, 3, 4])
def test_answers_in_company_are_those_of_a_mission_alone(small, count):
    prompts = {name: f'Where is box {name}?' * (1 + place)
               for place, name in enumerate(MISSIONS[:count])}
    with scheduling(small) as scheduler:
        alone = [scheduler.submit(Query(prompt, name)).wait(WAIT).text
                 for name, prompt in prompts.items()]
    with scheduling(small) as scheduler:
        together = ask_all(scheduler, prompts)
        calls = mission_of(scheduler, 'a').chunk_sizes
    assert [answer.text for answer in together] == alone
    assert BATCHED in calls


WORDS = '{"type": "array", "items": {"enum": ["door", "dock"]}, "minItems": 4, "maxItems": 6}'
FORMS = {'a': ResponseFormat(json_schema=WORDS), 'b': ResponseFormat(regex='[a-f ]{12,20}'),
         'c': ResponseFormat(), 'd': ResponseFormat(choices=('to the left', 'ahead'))}


def ask_for_forms(scheduler):
    """Ask four missions at once, each for another form."""
    gate = threading.Event()
    held = scheduler.submit_job(lambda: gate.wait(WAIT))
    requests = [scheduler.submit(Query(f'Where is box {name}?', name, max_tokens=60,
                                       response_format=form)) for name, form in FORMS.items()]
    gate.set()
    held.result(WAIT)
    return [request.wait(WAIT) for request in requests]


def test_answers_of_a_form_are_written_in_company_and_read_again_bit_for_bit(model):
    with scheduling(model) as scheduler:
        answers = ask_for_forms(scheduler)
        missions = [mission_of(scheduler, name) for name in MISSIONS]
    assert all(answer.error_code == ErrorCode.NONE for answer in answers)
    assert set(json.loads(answers[0].text)) <= {'door', 'dock'}
    assert re.fullmatch('[a-f ]{12,20}', answers[1].text)
    assert answers[3].text in FORMS['d'].choices
    assert any(size > 1 for size in missions[0].chunk_sizes[-8:])  # forced tokens in one call
    for mission in missions:
        check_invariants(mission)
        check_read_again(mission)


def test_answers_of_a_form_in_company_are_those_of_a_mission_alone(small):
    with scheduling(small) as scheduler:
        together = [answer.text for answer in ask_for_forms(scheduler)]
    with scheduling(small) as scheduler:
        assert together == [scheduler.submit(Query(
            f'Where is box {name}?', name, max_tokens=60, response_format=form)).wait(WAIT).text
            for name, form in FORMS.items()]


def test_missions_of_several_rounds_hold_their_invariants(model):
    with scheduling(model, tokens=9) as scheduler:
        for turn in range(3):
            answers = ask_all(scheduler, {name: f'Box {name}, turn {turn}?' for name in MISSIONS})
            assert all(answer.error_code == ErrorCode.NONE for answer in answers)
        missions = [mission_of(scheduler, name) for name in MISSIONS]
    for mission in missions:
        check_invariants(mission)
        assert mission.turn_count == 3


def test_a_state_that_was_read_in_company_is_the_same_bit_for_bit_when_it_is_read_again(model):
    with scheduling(model) as scheduler:
        ask_all(scheduler, {name: f'Where is box {name}?' for name in MISSIONS})
        missions = [mission_of(scheduler, name) for name in MISSIONS]
    for mission in missions:
        check_read_again(mission)


def test_a_cancelled_answer_leaves_its_companions_alone(small):
    prompts = {name: f'Where is box {name}?' for name in MISSIONS}
    with scheduling(small, tokens=40) as scheduler:
        expected = [answer.text for answer in ask_all(scheduler, prompts)]
    with scheduling(small, tokens=40) as scheduler:
        gate = threading.Event()
        held = scheduler.submit_job(lambda: gate.wait(WAIT))
        pieces = []

        def receive(piece):
            pieces.append(piece)
            if len(pieces) == 5:
                requests[1].cancel()
        requests = [scheduler.submit(Query(prompt, name),
                                     on_delta=receive if name == 'b' else None)
                    for name, prompt in prompts.items()]
        gate.set()
        held.result(WAIT)
        answers = [request.wait(WAIT) for request in requests]
        assert answers[1].error_code == ErrorCode.CANCELLED
        assert 'b' not in scheduler.store
    assert [a.text for a in answers[:1] + answers[2:]] == expected[:1] + expected[2:]


def test_a_step_that_fails_undoes_all_turns_that_were_in_it(small, monkeypatch):
    with scheduling(small) as scheduler:
        prompts = {name: f'Where is box {name}?' for name in MISSIONS}
        ask_all(scheduler, prompts)
        before = [mission_of(scheduler, name).digest for name in MISSIONS]
        with monkeypatch.context() as patch:
            def fail(*_):
                raise RuntimeError('the kernel is on fire')
            patch.setattr(small.runner, 'decode_batch', fail)
            answers = ask_all(scheduler, prompts)
        assert all(answer.error_code == ErrorCode.INTERNAL for answer in answers)
        assert [mission_of(scheduler, name).digest for name in MISSIONS] == before
        assert all(a.error_code == ErrorCode.NONE for a in ask_all(scheduler, prompts))


def test_a_long_prompt_is_read_in_short_calls_between_the_tokens_of_a_running_answer(
        small, monkeypatch):
    order = []
    monkeypatch.setattr(small, 'options', replace(small.options, prompt_lookup=False))
    monkeypatch.setattr(small, 'chunks', lambda ids: [
        ids[i:i + 64] for i in range(0, len(ids), 64)])
    with scheduling(small, tokens=40) as scheduler:
        real = small.runner.run

        def note(state, ids, *more, **rest):
            order.append(len(ids))
            return real(state, ids, *more, **rest)
        small.runner.run = note
        try:
            begun, asked = threading.Event(), threading.Event()

            def hold(_):
                begun.set()
                assert asked.wait(WAIT)
            running = scheduler.submit(Query('What?', 'a'), on_delta=hold)
            assert begun.wait(WAIT)
            late = scheduler.submit(Query(LONG_TEXT, 'b', max_tokens=1))
            asked.set()
            assert late.wait(WAIT).error_code == ErrorCode.NONE
            assert running.wait(WAIT).error_code == ErrorCode.NONE
        finally:
            del small.runner.run
    chunks = [place for place, size in enumerate(order) if size == 24]
    assert len(chunks) > 2 and max(order) == 24
    assert all(b - a > 1 for a, b in zip(chunks, chunks[1:])), 'no token came between two calls'


def test_two_questions_to_one_mission_are_answered_one_after_the_other(small):
    with scheduling(small) as scheduler:
        gate = threading.Event()
        held = scheduler.submit_job(lambda: gate.wait(WAIT))
        requests = [scheduler.submit(Query(f'Question {n}?', 'a')) for n in range(3)]
        gate.set()
        held.result(WAIT)
        assert all(r.wait(WAIT).error_code == ErrorCode.NONE for r in requests)
        prompts = [turn.prompt for turn in mission_of(scheduler, 'a').turns]
    assert prompts == ['Question 0?', 'Question 1?', 'Question 2?']


def test_an_answer_for_which_there_is_no_room_waits_for_its_companions(small):
    one = small.new_state().nbytes_at(512) + 40 * 1024
    retention = RetentionPolicy(state_bytes_limit=3 * one)
    with scheduling(small, tokens=30, retention=retention) as scheduler:
        answers = ask_all(scheduler, {name: LONG_TEXT for name in MISSIONS}, max_tokens=30)
    assert [a.error_code for a in answers] == [ErrorCode.NONE] * 4


def test_one_mission_alone_uses_no_company(small):
    with scheduling(small) as scheduler:
        scheduler.submit(Query('Where is the box?', 'a')).wait(WAIT)
        assert BATCHED not in mission_of(scheduler, 'a').chunk_sizes


def test_a_model_that_was_not_prepared_answers_one_at_a_time_on_the_host(memory_kind):
    model = Model(MODELS / DEFAULT, ModelOptions(threads=1))
    with scheduling(model) as scheduler:
        assert scheduler.parallel == (1 if memory_kind == device_memory.HOST_KIND else 4)
        answers = ask_all(scheduler, {name: 'Where?' for name in MISSIONS})
    assert all(answer.error_code == ErrorCode.NONE for answer in answers)


def test_stepping_together_touches_no_other_rows(small):
    runner, states = small.runner, [small.new_state() for _ in range(3)]
    for place, state in enumerate(states):
        runner.run(state, [5, 6, 7][:place + 1])
    runner.decode_batch(states, [8, 9, 10])  # where they stay
    for state in states:
        for buffer in state.key_value:
            buffer.write(state.position + 1, np.full_like(buffer.read(state.position + 1), 42.0))
    before = [[buffer.read(0, s.position).copy() for buffer in s.key_value] for s in states]
    runner.decode_batch(states, [8, 9, 10])
    for state, kept in zip(states, before):
        for buffer, old in zip(state.key_value, kept):
            assert np.array_equal(buffer.read(0, state.position - 1), old)
            assert np.all(buffer.read(state.position) == 42.0)


def test_looking_after_missions_leaves_one_alone_that_is_in_the_middle_of_a_turn(small, tmp_path):
    retention = RetentionPolicy(checkpoint_turns=1, checkpoint_idle=0.001, expire=1e-9)
    with closing(Storage(tmp_path, small)) as storage:
        store = MissionStore(small, 'You are a robot.', retention, storage)
        mission = store.get_or_create('m')
        ask(mission, 'Where is the box?')
        store.commit('m')
        store.memory.busy.add('m')
        steps = begin(mission, LONG_TEXT, GREEDY, Limits(4)).steps()
        for _ in range(3):
            next(steps)
        before = snapshot(mission)
        store.maintain(100.0)
        assert 'm' in store
        assert_same(snapshot(mission), before)
        for _ in steps:
            pass
        check_read_again(mission)
