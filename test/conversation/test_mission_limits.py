# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What does not fit is refused, and a store keeps missions apart."""
from lfm_ros.engine.decoding.generation import CONTEXT
from lfm_ros.engine.decoding.generation import STOP
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.retention import RetentionPolicy
import pytest
from support import ask
from support import assert_same
from support import check_invariants
from support import LONG_TEXT
from support import new_mission
from support import open_model
from support import snapshot


def test_a_full_context_ends_the_answer_and_then_refuses_questions():
    model = open_model(context_length=96)
    mission = new_mission(model)
    while len(mission.ids) < 60:
        ask(mission, 'What?', max_tokens=4)
    assert ask(mission, 'Go.', max_tokens=90).generation.finish_reason in (CONTEXT, STOP)
    while True:
        check_invariants(mission)
        before = snapshot(mission)
        try:
            ask(mission, 'Go.', max_tokens=90)
        except LfmError as error:
            assert error.code == ErrorCode.CONTEXT_FULL
            break
    assert_same(snapshot(mission), before)
    with pytest.raises(LfmError) as caught:
        mission.observe('It is dark, and the door is open.')
    assert caught.value.code == ErrorCode.CONTEXT_FULL
    with pytest.raises(LfmError) as caught:
        ask(mission, LONG_TEXT)
    assert caught.value.code == ErrorCode.PROMPT_TOO_LONG
    assert_same(snapshot(mission), before)
    mission.rewind(0)
    ask(mission, 'Go.')


@pytest.mark.parametrize('observed', [False, True])
def test_the_longest_prompt_that_fits_an_empty_mission_is_answered(observed):
    model = open_model(context_length=96)
    frame, head = model.template.markup, model.template.preamble('You are a robot.')
    around = len(head) + len(frame.user_prefix) + \
        len(frame.assistant_prefix) + len(frame.assistant_suffix)
    mission = new_mission(model)
    text = '!'
    if observed:
        mission.observe('!')
        around += len(model.tokenizer.encode('!\n'))
    while around + len(model.tokenizer.encode(text)) < 95:
        text += ' x'[len(text) % 2]
    assert around + len(model.tokenizer.encode(text)) == 95, 'there is room for one token'
    turn = ask(mission.fork('f'), text, max_tokens=9)
    assert len(turn.generation.ids) == 1
    code = ErrorCode.CONTEXT_FULL if observed else ErrorCode.PROMPT_TOO_LONG
    with pytest.raises(LfmError) as caught:
        ask(mission, text + text[-1])
    assert caught.value.code == code


def test_a_store_keeps_missions_apart_and_names_what_is_wrong():
    store = MissionStore(open_model(), 'You are a robot.', RetentionPolicy(max_missions=3))
    ask(store.get_or_create('a'), 'What?')
    store.fork('a', 'b')
    ask(store.get('b'), 'Where?')
    store.reset('a')
    assert [(i.mission_id, i.turns) for i in store.list()] == [('a', 0), ('b', 2)]
    store.rewind('b', 1)
    assert len(store.get('b').turns) == 1
    for code, work in {
            ErrorCode.MISSION_EXISTS: lambda: store.fork('a', 'b'),
            ErrorCode.UNKNOWN_MISSION: lambda: store.delete('c'),
            ErrorCode.INVALID_MISSION_ID: lambda: store.get_or_create('../x')}.items():
        with pytest.raises(LfmError) as caught:
            work()
        assert caught.value.code == code
    store.get_or_create('c')
    with pytest.raises(LfmError) as caught:
        store.get_or_create('d')
    assert caught.value.code == ErrorCode.TOO_MANY_MISSIONS
    store.delete('c')
    store.get_or_create('d')
    assert store.memory.nbytes > sum(i.bytes for i in store.list())


@pytest.mark.parametrize('name', ['', '.', '..', '.x', ' x', 'x ', 'a/b', 'a\\b', 'a\nb', '~',
                                  'x' * 129, 'a\x00', '\udcff'])
def test_a_name_that_could_be_a_path_is_no_mission_id(name):
    with pytest.raises(LfmError) as caught:
        MissionStore(open_model()).get_or_create(name)
    assert caught.value.code == ErrorCode.INVALID_MISSION_ID


def test_a_system_prompt_that_fills_the_context_is_refused():
    with pytest.raises(LfmError) as caught:
        MissionStore(open_model(context_length=96), LONG_TEXT)
    assert caught.value.code == ErrorCode.PROMPT_TOO_LONG
