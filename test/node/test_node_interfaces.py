# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every name of the interface, used as a robot would use it."""
from collections.abc import Iterator
from pathlib import Path
import re

from builtin_interfaces.msg import Time
from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.node import convert
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import TextDelta
from node_client import Client
from node_client import query
from node_support import running_node
import pytest
from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message
from std_msgs.msg import String

README = (Path(__file__).resolve().parents[2] / 'README.md').read_text(encoding='utf-8')
SERVICES = {
    'ask': 'lfm_ros/srv/Ask', 'model_info': 'lfm_ros/srv/GetModelInfo',
    'tokenize': 'lfm_ros/srv/Tokenize', 'missions/list': 'lfm_ros/srv/ListMissions',
    'missions/reset': 'lfm_ros/srv/ResetMission', 'missions/delete': 'lfm_ros/srv/DeleteMission',
    'missions/fork': 'lfm_ros/srv/ForkMission', 'missions/rewind': 'lfm_ros/srv/RewindMission',
    'generate/_action/send_goal': 'lfm_ros/action/Generate_SendGoal',
    'change_state': 'lifecycle_msgs/srv/ChangeState', 'get_state': 'lifecycle_msgs/srv/GetState',
}
PUBLISHED = {
    '/lfm/response': 'lfm_ros/msg/Response', '/lfm/tokens': 'lfm_ros/msg/Token',
    '/lfm/answer': 'std_msgs/msg/String', '/lfm/status': 'lfm_ros/msg/Status',
    '/diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
    '/lfm/transition_event': 'lifecycle_msgs/msg/TransitionEvent',
}
SUBSCRIBED = {
    '/lfm/query': 'lfm_ros/msg/Query', '/lfm/prompt': 'std_msgs/msg/String',
    '/lfm/observe': 'lfm_ros/msg/Observation',
}


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


def test_all_names_exist_with_their_types(client: Client) -> None:
    node = client.node
    client.wait_until(lambda: 'lfm' in node.get_node_names(), 'node lfm')
    for found, wanted in (
            (node.get_service_names_and_types_by_node, {f'/lfm/{n}': t
                                                        for n, t in SERVICES.items()}),
            (node.get_publisher_names_and_types_by_node, PUBLISHED),
            (node.get_subscriber_names_and_types_by_node, SUBSCRIBED)):
        client.wait_until(
            lambda: wanted.items() <= {n: t[0] for n, t in found('lfm', '/')}.items(),
            f'{wanted}, but {found("lfm", "/")}')


def test_the_readme_names_every_interface_and_no_other(client: Client) -> None:
    named, node = set(), client.node
    table = README.partition('| name | type | |')[2].partition('\n\n')[0]
    for row in table.splitlines():
        folder = ''
        for name in re.findall(r'`([a-z_~/]+)`', row.partition('` |')[0] + '` |'):
            folder = folder or name[:name.rindex('/') + 1]
            named.add(name if '/' in name else folder + name)
    found = {'~/generate'}
    for names in (node.get_service_names_and_types_by_node('lfm', '/'),
                  node.get_publisher_names_and_types_by_node('lfm', '/'),
                  node.get_subscriber_names_and_types_by_node('lfm', '/')):
        for name, types in names:
            if types[0].startswith(('lfm_ros/', 'std_msgs/', 'diagnostic_msgs/')) and \
                    '/_action/' not in name:
                found.add(name.replace('/lfm/', '~/', 1))
    assert named - {'~/image', '~/image/compressed'} == found


def test_ask_answers_with_plausible_usage(client: Client) -> None:
    response = client.ask('what do you see', mission_id='usage', request_id='first',
                          max_tokens=30)
    assert (response.request_id, response.mission_id) == ('first', 'usage')
    assert (response.error_code, response.error_msg) == (msg.Response.NONE, '')
    assert response.text and response.finish_reason in (
        msg.Response.FINISH_STOP, msg.Response.FINISH_LENGTH)
    assert response.header.stamp.sec > 0
    usage = response.usage
    assert usage.prompt_tokens > len('what do you see') / 4
    assert 1 <= usage.generated_tokens <= 30
    assert usage.image_tokens == 0
    assert 0 < usage.time_to_first_token < 30
    assert usage.tokens_per_second > 0
    assert 0 <= usage.seconds_queued < 30
    again = client.ask('and now', mission_id='usage', max_tokens=5).usage
    # All that was read stays; of the first turn only the end of its answer was still to be read.
    assert again.cached_tokens >= usage.prompt_tokens + usage.generated_tokens
    assert again.prompt_tokens < 20


def test_a_request_without_an_id_gets_one(client: Client) -> None:
    ids = {client.ask('hello', max_tokens=1, aside=True).request_id for _ in range(2)}
    assert len(ids) == 2 and all(ids)


def test_pieces_of_a_goal_add_up_to_its_text(client: Client) -> None:
    tokens = 0
    for prompt in ('tell me a long story', 'another one', 'a third', 'a last one'):
        goal = client.generate(prompt, mission_id='story', max_tokens=100)
        # rclpy gives feedback to nobody once it has the result, so ask for that last.
        goal.deltas.wait(lambda p: p.done)
        response = goal.response()
        pieces = goal.deltas.messages
        assert [p.seq for p in pieces] == list(range(len(pieces)))
        assert [p.done for p in pieces] == [False] * (len(pieces) - 1) + [True]
        assert {(p.request_id, p.mission_id) for p in pieces} == {
            (response.request_id, 'story')}
        assert ''.join(p.text for p in pieces) == response.text
        tokens += response.usage.generated_tokens
    assert tokens > 20


def test_service_and_action_and_topic_give_the_same_answer(client: Client) -> None:
    responses = client.subscribe(msg.Response, '~/response')
    tokens = client.subscribe(msg.Token, '~/tokens')
    asked = client.publisher(msg.Query, '~/query')
    client.wait_until(lambda: client.node.count_publishers('/lfm/tokens') == 1, 'tokens')
    by_service = client.ask('same for all', mission_id='s', max_tokens=40)
    by_action = client.generate('same for all', mission_id='a', max_tokens=40).response()
    asked.publish(query('same for all', mission_id='t', request_id='by topic', max_tokens=40))
    by_topic = responses.wait(lambda r: r.request_id == 'by topic')[0]
    assert by_service.text == by_action.text == by_topic.text
    tokens.wait(lambda t: t.done and t.request_id == 'by topic')
    pieces = [t for t in tokens.messages if t.request_id == 'by topic']
    assert ''.join(p.text for p in pieces) == by_topic.text
    assert [p.seq for p in pieces] == list(range(len(pieces)))


def test_a_prompt_gets_a_plain_answer(client: Client) -> None:
    answers = client.subscribe(String, '~/answer')
    responses = client.subscribe(msg.Response, '~/response')
    prompts = client.publisher(String, '~/prompt')
    client.reset()
    client.wait_until(lambda: client.node.count_subscribers('/lfm/answer') == 1, 'subscription')
    prompts.publish(String(data='just a word'))
    response = responses.wait(lambda r: r.mission_id == 'default')[0]
    assert answers.wait()[0].data == response.text
    assert client.missions()['default'].turns == 1
    prompts.publish(String(data='  '))
    assert 'prompt is empty' in answers.wait(count=2)[1].data


def test_an_observation_is_read_ahead_and_known_to_the_next_question(client: Client) -> None:
    observe = client.publisher(msg.Observation, '~/observe')
    observe.publish(msg.Observation(mission_id='seen', text='battery at 34 %'))
    client.wait_status(lambda s: any(
        m.mission_id == 'seen' and m.tokens > 5 and not m.pending_tokens for m in s.missions))
    known = client.ask('how much is left', mission_id='seen', max_tokens=20)
    unknown = client.ask('how much is left', mission_id='not seen', max_tokens=20)
    assert known.text != unknown.text
    assert known.usage.cached_tokens > unknown.usage.cached_tokens + 10
    assert client.missions()['seen'].turns == 1


def test_an_aside_is_answered_and_forgotten(client: Client) -> None:
    client.ask('remember this', mission_id='aside', max_tokens=10)
    before = client.missions()['aside']
    first = client.ask('who are you', mission_id='aside', max_tokens=20, aside=True)
    client.ask('something else', mission_id='aside', max_tokens=7, aside=True)
    after = client.missions()['aside']
    assert (after.turns, after.tokens) == (before.turns, before.tokens)
    assert client.ask('who are you', mission_id='aside', max_tokens=20).text == first.text


def test_model_info_describes_the_model(client: Client) -> None:
    info = client.call(srv.GetModelInfo, '~/model_info')
    assert (info.error_code, info.name, info.graph) == (0, 'lfm2', 'model.onnx')
    assert (info.context_length, info.vocabulary) == (512, 320)
    assert info.conv_layers > 0 and info.attention_layers > 0
    assert info.state_bytes_fixed > 0 and info.state_bytes_token > 0
    assert info.providers == ['CPUExecutionProvider']
    assert len(info.fingerprint) == 64 and not info.vision


def test_tokenize_gives_ids_and_their_texts(client: Client) -> None:
    text = 'the battery: <|im_end|>'
    reply = client.call(srv.Tokenize, '~/tokenize', srv.Tokenize.Request(text=text))
    assert reply.error_code == 0
    assert len(reply.tokens) == len(reply.pieces) > 5
    assert ''.join(reply.pieces) == text


def test_a_nul_that_the_model_writes_does_not_cut_its_answer() -> None:
    response = convert.to_response(Answer('r', 'm', 'a\0b', 'stop'), Time())
    token = convert.to_token(TextDelta('r', 'm', 0, 'a\0b'))
    for message in (response, token):
        copy = deserialize_message(serialize_message(message), type(message))
        assert copy.text == 'a\ufffdb'
