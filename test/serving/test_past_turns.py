# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A mission may begin with turns that were held elsewhere, and a system prompt of its own."""
from __future__ import annotations

import json

from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.text.tool_calls import parse_tool_calls
from lfm_ros.engine.text.tool_calls import write_tool_calls
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.past_turn import add_turns
from lfm_ros.serving.past_turn import PastTurn
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.storage.storage import Storage
import pytest
from support import open_model
import vision_support
from vision_support import answer
from vision_support import image

GO = Tool('go-to', 'Go there.', json.dumps({
    'type': 'object', 'properties': {'place': {'type': 'string'}, 'fast': {'type': 'boolean'}},
    'required': ['place']}))


def held(store, mission_id='held'):
    """Hold a conversation; return what was said in it."""
    turns = []
    for prompt in ('Where is the dock?', 'Go there.'):
        said = answer(store.get_or_create(mission_id), prompt, tokens=6)
        turns.append(PastTurn(prompt, said.generation.text))
    return turns


def test_a_mission_goes_on_as_the_one_in_which_its_turns_were_held():
    store = MissionStore(open_model(), 'You are a robot.')
    turns = held(store)
    add_turns(store, 'told', turns)
    told, mission = store.get('told'), store.get('held')
    assert [(e.kind, e.prompt, e.text) for e in told.entries] == \
        [(e.kind, e.prompt, e.text) for e in mission.entries]
    assert told.entries[0].prompt == 'You are a robot.'


def test_turns_are_added_to_a_mission_that_is_there():
    store = MissionStore(open_model(), 'You are a robot.')
    add_turns(store, 'm', [PastTurn('Where are you?', 'Here.')])
    before = store.get('m').ids[:]
    add_turns(store, 'm', [PastTurn('And now?', 'Still here.')])
    assert store.get('m').ids[:len(before)] == before and store.get('m').turn_count == 2


def test_a_system_prompt_of_its_own_stands_at_its_beginning_and_survives_a_restart(tmp_path):
    model = open_model()
    with_storage = Storage(tmp_path, model)
    store = MissionStore(model, 'You are a robot.', storage=with_storage)
    add_turns(store, 'm', [PastTurn('Who are you?', 'A ship.')], 'You are a ship.')
    ids = store.get('m').ids
    assert ids[:store.get('m').head_tokens] == model.template.preamble('You are a ship.')
    with_storage.close()
    with_storage = Storage(tmp_path, model)
    again = MissionStore(model, 'You are a robot.', storage=with_storage).get('m')
    assert again.ids == ids and again.entries[0].prompt == 'You are a ship.'
    with_storage.close()


def test_another_system_prompt_than_that_of_the_mission_is_refused():
    store = MissionStore(open_model(), 'You are a robot.')
    add_turns(store, 'm', system_prompt='You are a ship.')
    add_turns(store, 'm', [PastTurn('a', 'b')], 'You are a ship.')
    with pytest.raises(LfmError) as caught:
        add_turns(store, 'm', [PastTurn('a', 'b')], 'You are a car.')
    assert caught.value.code == ErrorCode.MISSION_EXISTS
    assert store.get('m').turn_count == 1


def test_calls_and_results_are_written_as_the_model_writes_and_reads_them():
    model = open_prepared('demo', ModelOptions(threads=1), make=False)
    store = MissionStore(model)
    call = ToolCall('go-to', '{"place": "dock", "fast": true}')
    add_turns(store, 'm', [
        PastTurn('Go to the dock.', 'I go.', calls=(call,)),
        PastTurn('', 'I am there.', results=(ToolResult('go-to', 'arrived'),))], tools=[GO])
    first, second = store.get('m').entries[1:]
    assert first.text == 'I go.<|tool_call_start|>[go_to(place="dock", fast=True)]' \
        '<|tool_call_end|>'
    assert (first.finish_reason, second.kind) == ('tool_calls', 'results')
    assert model.tool_format.parse(first.text[len('I go.<|tool_call_start|>'):
                                              -len('<|tool_call_end|>')], [GO]) == [call]
    with pytest.raises(LfmError) as caught:
        add_turns(store, 'other', [PastTurn('Go.', calls=(call,))])
    assert caught.value.code == ErrorCode.INVALID_TOOL and 'other' not in store


@pytest.mark.parametrize('arguments', [
    {}, {'a': 1}, {'a': 'it\'s "so" \\ \n é 😀', 'b': [1.5, None, True, {'c': [False]}]},
    {'a-b': 1}, {'class': 2}])
@pytest.mark.parametrize('as_list', [True, False])
def test_written_calls_are_read_as_they_were(arguments, as_list):
    calls = [ToolCall(name, json.dumps(arguments, ensure_ascii=False))
             for name in ('go', 'arm.move')][:1 + as_list]
    assert parse_tool_calls(write_tool_calls(calls, as_list)) == calls


def test_images_of_past_turns_are_seen():
    model = vision_support.open_model()
    store = MissionStore(model)
    add_turns(store, 'm', [PastTurn('What is it?', 'A box.', (image(seed=3),))])
    answer(store.get_or_create('n'), 'What is it?', image(seed=3), tokens=2)
    start = store.get('m').entries[0].tokens
    count = store.get('n').entries[1].images[0].tokens
    assert store.get('m').ids[start:start + count] == store.get('n').ids[start:start + count]


@pytest.mark.parametrize('what', ['too many missions', 'lone surrogate', 'no vision'])
def test_what_cannot_be_added_changes_nothing(what):
    store = MissionStore(open_model(), retention=RetentionPolicy(max_missions=1))
    add_turns(store, 'm', [PastTurn('a', 'b')])
    name, turn = {'too many missions': ('n', PastTurn('a', 'b')),
                  'lone surrogate': ('m', PastTurn('a', '\ud800')),
                  'no vision': ('m', PastTurn('a', 'b', (image(),)))}[what]
    before = store.get('m').ids[:]
    with pytest.raises(LfmError):
        add_turns(store, name, [PastTurn('c', 'd'), turn])
    assert store.get('m').ids == before and len(store.list()) == 1
