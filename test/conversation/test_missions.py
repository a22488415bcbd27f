# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A turn commits whole or not at all, and the mission knows what was said."""
from lfm_ros.engine.decoding.generation import LENGTH
from lfm_ros.engine.decoding.generation import STOP
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import ask
from support import assert_same
from support import begin
from support import check_invariants
from support import FailingRunner
from support import GREEDY
from support import LONG_TEXT
from support import new_mission
from support import open_model
from support import snapshot
from support import text_of


@pytest.fixture(params=['lfm2', 'lfm2-past-conv', 'lfm2-int4', 'llama'])
def model(request):
    return open_model(request.param, prefill_chunk=32)


class Boom(Exception):
    pass


@pytest.mark.parametrize('error', [
    Boom(), RunCancelled(), LfmError(ErrorCode.MODEL_RUN_FAILED, 'it failed'), MemoryError()],
    ids=lambda e: type(e).__name__)
@pytest.mark.parametrize('at', [1, 2, 4, 5, 6, 9])
def test_a_turn_that_fails_at_any_call_leaves_the_mission_as_it_was(
        model, monkeypatch, at, error):
    mission, twin = new_mission(model, 'What?'), new_mission(model, 'What?')
    for each in (mission, twin):
        while each.pending_sizes:
            each.prefill_next()
    before = snapshot(mission)
    with monkeypatch.context() as patch:
        patch.setattr(model, 'runner', FailingRunner(model.runner, at, error))
        with pytest.raises(type(error)):
            ask(mission, LONG_TEXT[:120], max_tokens=20)
    assert_same(snapshot(mission), before)
    for prompt in ('Go there.', 'And then?'):
        assert text_of(mission, prompt) == text_of(twin, prompt)
    assert_same(snapshot(mission), snapshot(twin))


def test_a_turn_left_at_any_step_leaves_the_mission_as_it_was(model):
    mission, twin = new_mission(model, 'What?'), new_mission(model, 'What?')
    for each in (mission, twin):
        while each.pending_sizes:
            each.prefill_next()
    before = snapshot(mission)
    steps_in_all = len(
        list(begin(mission.fork('f'), LONG_TEXT[:80], GREEDY, Limits(6)).steps()))
    for leave_after in range(steps_in_all + 1):
        steps = begin(mission, LONG_TEXT[:80], GREEDY, Limits(6)).steps()
        for _ in range(leave_after):
            next(steps)
        steps.close()
        assert_same(snapshot(mission), before)
    assert text_of(mission, 'Go.') == text_of(twin, 'Go.')
    assert_same(snapshot(mission), snapshot(twin))


@pytest.mark.parametrize('calls', [0, 1, 2, 3, 7])
def test_an_interrupt_ends_a_turn_in_prefill_and_in_decode(model, calls):
    mission = new_mission(model)
    before = snapshot(mission)
    flag = CancelToken()
    turn = begin(mission, LONG_TEXT[:100], GREEDY, Limits(20), cancel_token=flag)
    steps = turn.steps()
    for _ in range(calls):
        next(steps)
    flag.set()
    with pytest.raises(RunCancelled):
        next(steps)
    assert_same(snapshot(mission), before)


def test_what_was_unread_before_a_turn_that_fails_is_still_part_of_the_mission(
        model, monkeypatch):
    mission, twin = new_mission(model), new_mission(model)
    for each in (mission, twin):
        each.observe('The battery is at 34 %.')
    with monkeypatch.context() as patch:
        patch.setattr(model, 'runner', FailingRunner(model.runner, 2, Boom()))
        with pytest.raises(Boom):
            ask(mission, 'Where?')
    check_invariants(mission)
    assert mission.ids == twin.ids
    assert text_of(mission, 'Where?') == text_of(twin, 'Where?')
    assert_same(snapshot(mission), snapshot(twin))


def test_the_ids_are_those_of_the_rendered_conversation(model):
    mission = new_mission(model, 'What do you see?', 'Go there.')
    frame, encode = model.template.markup, model.tokenizer.encode
    ids = model.template.preamble('You are a robot.')
    answers = [[], []]
    position = len(ids)
    for place, prompt in enumerate(('What do you see?', 'Go there.')):
        opening = [*frame.user_prefix, *encode(prompt), *frame.assistant_prefix]
        ids += opening
        position += len(opening)
        end = mission.ids.index(frame.assistant_suffix[0], position)
        answers[place] = mission.ids[position:end]
        ids += [*answers[place], *frame.assistant_suffix]
        position = len(ids)
    assert mission.ids == ids
    assert [model.tokenizer.decode(a) for a in answers] == [t.text for t in mission.turns]


def test_observations_and_the_question_are_one_user_message(model):
    mission = new_mission(model)
    mission.observe('The battery is at 34 %.\n')
    mission.observe('It is dark.')
    ask(mission, 'What now?')
    frame = model.template.markup
    message = model.tokenizer.encode('The battery is at 34 %.\n') \
        + model.tokenizer.encode('It is dark.\n') + model.tokenizer.encode('What now?')
    start = len(model.template.preamble('You are a robot.'))
    expected = [*frame.user_prefix, *message, *frame.assistant_prefix]
    assert mission.ids[start:start + len(expected)] == expected
    assert mission.turns[0].start == start


def test_observations_read_ahead_do_not_change_the_answer(model):
    eager, lazy = new_mission(model), new_mission(model)
    for mission in (eager, lazy):
        for text in ('The battery is at 34 %.', LONG_TEXT, 'It is dark.'):
            mission.observe(text)
            while mission is eager and mission.pending_sizes:
                mission.prefill_next()
    assert (eager.pending, lazy.pending > 0) == (0, True)
    assert text_of(eager, 'What?') == text_of(lazy, 'What?')
    assert_same(snapshot(eager), snapshot(lazy))


def test_two_missions_in_turn_answer_as_two_models_would(model):
    prompts = ['What?', 'Where is the dock?', 'Go there.']
    alone = [new_mission(model, *prompts), new_mission(model, *prompts, system='You are a door.')]
    one, two = new_mission(model), new_mission(model, system='You are a door.')
    for prompt in prompts:
        steps = [begin(m, prompt, GREEDY, Limits(6)).steps() for m in (one, two)]
        while steps:
            steps = [s for s in steps if next(s, None) is not None]
    assert_same(snapshot(one), snapshot(alone[0]))
    assert_same(snapshot(two), snapshot(alone[1]))


def test_an_answer_that_the_model_ends_is_closed_once(model, monkeypatch):
    mission, frame = new_mission(model), model.template.markup
    start = len(mission.ids)
    ids = ask(mission.fork('f'), 'What?', max_tokens=9).generation.ids
    end = next(n for n in range(2, 9) if ids[n] not in ids[:n])
    monkeypatch.setattr(model, 'end_ids', frozenset({ids[end]}))
    turn = ask(mission, 'What?', max_tokens=9)
    assert (turn.generation.finish_reason, turn.generation.ids) == (STOP, ids[:end + 1])
    assert turn.generation.text == model.tokenizer.decode(ids[:end])
    assert mission.ids[start:] == [
        *frame.user_prefix, *model.tokenizer.encode('What?'), *frame.assistant_prefix,
        *ids[:end], *frame.assistant_suffix]
    check_invariants(mission)


def test_why_an_answer_ended_and_what_it_cost_is_told():
    mission = new_mission(open_model())
    known = len(mission.ids)
    turn = ask(mission, 'What?', max_tokens=3)
    assert turn.generation.finish_reason == LENGTH
    assert (len(turn.generation.ids), turn.cached_tokens) == (3, known)
    assert turn.prompt_tokens == mission.chunk_sizes[1]
    whole = text_of(new_mission(open_model()), 'What?', max_tokens=30)
    stop = whole[20:23]
    again = begin(new_mission(open_model()), 'What?', GREEDY, Limits(30, ('never', stop)))
    assert ''.join(again.steps()) == again.generation.text == whole.partition(stop)[0]
    assert again.generation.finish_reason == STOP


def test_a_stop_text_and_what_follows_it_are_not_remembered():
    plain = new_mission(open_model())
    text = text_of(plain, 'What?', max_tokens=30)
    stop = text[len(text) // 2:][:2]
    mission = new_mission(open_model())
    turn = begin(mission, 'What?', GREEDY, Limits(30, (stop,)))
    given = ''.join(turn.steps())
    assert turn.generation.stopped_by_text and given == text[:text.index(stop)]
    check_invariants(mission)
    tokenizer, frame = mission.model.tokenizer, mission.model.template.markup
    close = list(frame.assistant_suffix)
    assert mission.ids[-len(close):] == close
    asked = len(plain.ids) - len(close) - 30
    assert mission.ids[asked:-len(close)] == tokenizer.encode(given)
    assert mission.turns[0].text == given


def test_a_commit_that_fails_is_undone(monkeypatch):
    mission = new_mission(open_model(), 'What?')
    while mission.pending_sizes:
        mission.prefill_next()
    before = snapshot(mission)

    def fail(*_):
        raise MemoryError

    for where, name in ((mission.restore_points, 'add'), (mission, '_push')):
        turn = begin(mission, 'Where?', GREEDY, Limits(4))
        steps = turn.steps()
        while not turn.generation.ids:
            next(steps)
        with monkeypatch.context() as patch:
            patch.setattr(where, name, fail)
            with pytest.raises(MemoryError):
                list(steps)
        assert_same(snapshot(mission), before)
