# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Over ROS: answers of a form, choices with their probabilities, tools and their results."""
from collections.abc import Iterator
import json
import math

from action_msgs.msg import GoalStatus
from lfm_ros import msg
from node_client import Client
from node_client import query
from node_support import running_node
import pytest

R = msg.Response
ResponseFormat = msg.ResponseFormat
SCHEMA = json.dumps({
    'type': 'object', 'additionalProperties': False, 'required': ['action', 'place'],
    'properties': {'action': {'enum': ['go', 'look']},
                   'place': {'type': 'integer', 'minimum': 0, 'maximum': 99}}})
TOOLS = [msg.Tool(name='go', parameters=json.dumps(
    {'properties': {'at': {'enum': [1, 2, 3]}}, 'required': ['at']})), msg.Tool(name='look')]


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


def test_an_object_comes_by_service_topic_and_action_and_is_the_same(client: Client) -> None:
    fields = {'response_format': ResponseFormat(json_schema=SCHEMA), 'max_tokens': 60}
    by_service = client.ask('Where?', mission_id='service', **fields)
    goal = client.generate('Where?', mission_id='action', **fields)
    status, by_action = goal.end()
    responses = client.subscribe(R, '~/response')
    asked = client.publisher(msg.Query, '~/query')
    client.wait_until(lambda: client.node.count_publishers('/lfm/response') == 1, 'response')
    asked.publish(query('Where?', mission_id='topic', request_id='topic', **fields))
    by_topic, = responses.wait(lambda r: r.request_id == 'topic')
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert by_service.text == by_action.text == by_topic.text
    found = json.loads(by_service.text)
    assert found['action'] in ('go', 'look') and 0 <= found['place'] <= 99
    assert by_service.finish_reason == R.FINISH_STOP and by_service.usage.forced_tokens > 0
    assert ''.join(piece.text for piece in goal.deltas.messages) in by_action.text


def test_an_object_that_was_cut_says_so(client: Client) -> None:
    response = client.ask('Where?', mission_id='cut', max_tokens=2,
                          response_format=ResponseFormat(json_schema=SCHEMA))
    assert response.finish_reason == R.FINISH_LENGTH and response.error_code == R.NONE


def test_choices_come_with_their_probabilities(client: Client) -> None:
    choices = ['yes', 'no', 'the door is open']
    response = client.ask('Which?', mission_id='choice', response_format=ResponseFormat(
        choices=choices, choice_logprobs=True))
    assert len(response.choice_logprobs) == 3
    assert sum(map(math.exp, response.choice_logprobs)) <= 1.0
    likely = max(response.choice_logprobs)
    assert response.text == choices[list(response.choice_logprobs).index(likely)]
    assert len(client.ask('Which?', response_format=ResponseFormat(
        choices=choices)).choice_logprobs) == 0


def test_a_tool_is_called_and_its_result_goes_in(client: Client) -> None:
    response = client.ask('Go.', mission_id='tools', tools=TOOLS, tool_choice='go', max_tokens=99)
    call, = response.tool_calls
    assert (call.name, response.finish_reason) == ('go', R.FINISH_TOOL_CALLS)
    assert json.loads(call.arguments)['at'] in (1, 2, 3)
    response = client.ask('', mission_id='tools', tool_choice='none', max_tokens=5, tool_results=[
        msg.ToolResult(name='go', content='{"ok": true}')])
    assert response.error_code == R.NONE and response.usage.cached_tokens > 50
    assert client.missions()['tools'].turns == 2


def test_pieces_of_a_call_are_not_sent_as_text(client: Client) -> None:
    goal = client.generate('Go.', mission_id='pieces', tools=TOOLS, tool_choice='required',
                           max_tokens=99)
    status, response = goal.end()
    assert status == GoalStatus.STATUS_SUCCEEDED
    if response.finish_reason == R.FINISH_TOOL_CALLS:
        assert ''.join(piece.text for piece in goal.deltas.messages) == response.text == ''


def test_a_cancelled_answer_with_a_form_undoes_the_turn(client: Client) -> None:
    client.ask('Hello.', mission_id='undone', max_tokens=3)
    before = client.missions()['undone'].tokens
    goal = client.generate('Go on.', mission_id='undone', max_tokens=300,
                           response_format=ResponseFormat(regex='[a-z ]{250,}'))
    goal.deltas.wait()
    goal.cancel()
    status, response = goal.end()
    assert status == GoalStatus.STATUS_CANCELED and response.error_code == R.CANCELLED
    assert client.missions()['undone'].tokens == before


def test_raw_text_goes_on_without_a_mission(client: Client) -> None:
    known = set(client.missions())
    response = client.ask('The robot', raw=True, mission_id='nowhere', max_tokens=5)
    assert response.error_code == R.NONE and response.usage.generated_tokens >= 1
    assert client.ask('a', raw=True, suffix='b', mission_id='nowhere').error_code == R.NONE
    assert set(client.missions()) == known


def test_a_node_can_be_ready_for_forms_from_the_start() -> None:
    with running_node(model__preload_formats=True) as client:
        response = client.ask('Where?', response_format=ResponseFormat(choices=['yes', 'no']))
        assert response.text in ('yes', 'no')
