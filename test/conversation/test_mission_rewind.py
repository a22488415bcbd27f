# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""After aside, fork and rewind a mission answers as a fresh one would."""
from lfm_ros.conversation.restore_points import MAX_RESTORE_POINTS
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import ask
from support import assert_same
from support import check_invariants
from support import LONG_TEXT
from support import new_mission
from support import open_model
from support import snapshot
from support import text_of


@pytest.fixture(params=['lfm2', 'lfm2-past-conv', 'lfm2-int4', 'llama'])
def model(request):
    return open_model(request.param, prefill_chunk=32)


def test_an_aside_sees_the_mission_and_leaves_no_trace(model):
    mission, twin = new_mission(model, 'What?'), new_mission(model, 'What?')
    mission.observe('It is dark.')
    twin.observe('It is dark.')
    expected = text_of(mission.fork('f'), 'Where?')
    assert text_of(mission, 'Where?', aside=True) == expected
    check_invariants(mission)
    assert mission.ids == twin.ids and len(mission.turns) == 1
    assert text_of(mission, 'Where?') == text_of(twin, 'Where?')
    assert_same(snapshot(mission), snapshot(twin))


def test_a_fork_is_a_mission_of_its_own(model):
    mission = new_mission(model, 'What?')
    mission.observe('It is dark.')
    before = snapshot(mission)
    fork = mission.fork('f')
    assert_same(snapshot(fork), before)
    ask(fork, 'Where?')
    fork.observe('The door is open.')
    fork.rewind(0)
    assert_same(snapshot(mission), before)
    other = mission.fork('g')
    assert text_of(other, 'Go.') == text_of(mission, 'Go.')
    assert_same(snapshot(other), snapshot(mission))


def test_what_is_said_in_a_fork_does_not_disturb_a_rewind_of_the_original(model):
    mission, twin = new_mission(model, 'What?'), new_mission(model, 'What?')
    fork = mission.fork('f')
    for each in (mission, twin):
        ask(each, LONG_TEXT[:120])
    ask(fork, 'Go.')
    for each in (mission, twin):
        ask(each, 'Where?')
        each.rewind(2)
    assert text_of(mission, 'And?') == text_of(twin, 'And?')
    assert_same(snapshot(mission), snapshot(twin))


@pytest.mark.parametrize('kept', [2, 4, MAX_RESTORE_POINTS])
def test_after_a_rewind_the_same_question_gives_the_same_answer(model, kept, monkeypatch):
    monkeypatch.setattr('lfm_ros.conversation.restore_points.MAX_RESTORE_POINTS', kept)
    turns = 11
    mission = new_mission(model)
    states = []
    for place in range(turns):
        states.append(snapshot(mission.fork('f')))
        if place % 3 == 1:
            mission.observe(f'The battery is at {place} %.')
        ask(mission, f'Where is box {place}?', max_tokens=3)
    answers = [turn.text for turn in mission.turns]
    for keep in (turns - 1, 2, 0):
        fork = mission.fork('f')
        fork.rewind(keep)
        check_invariants(fork)
        assert fork.ids == states[keep]['ids'] and fork.turns == states[keep]['turns']
        for place in range(keep, turns):
            if place % 3 == 1:
                fork.observe(f'The battery is at {place} %.')
            assert text_of(fork, f'Where is box {place}?', max_tokens=3) == answers[place]
        assert fork.ids == mission.ids and fork.chunk_sizes == mission.chunk_sizes
        assert_same(snapshot(fork)['arrays'], snapshot(mission)['arrays'])


def test_a_rewind_to_all_turns_takes_back_only_the_open_message(model):
    mission, twin = new_mission(model, 'What?'), new_mission(model, 'What?')
    for read in (0, 1, 2):
        mission.observe('It is dark.')
        for _ in range(min(read, len(mission.pending_sizes))):
            mission.prefill_next()
        mission.rewind(1)
        check_invariants(mission)
        assert mission.ids == twin.ids
    assert text_of(mission, 'Go.') == text_of(twin, 'Go.')


@pytest.mark.parametrize('turns', [-1, 3, 10 ** 9])
def test_a_rewind_to_a_turn_that_never_was_is_refused(turns):
    mission = new_mission(open_model(), 'What?', 'Where?')
    before = snapshot(mission)
    with pytest.raises(LfmError) as caught:
        mission.rewind(turns)
    assert caught.value.code == ErrorCode.UNKNOWN_TURN
    assert_same(snapshot(mission), before)
