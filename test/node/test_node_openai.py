# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm_openai` serves a running node: one model for robots and for all who speak OpenAI's."""
from __future__ import annotations

import base64
from contextlib import contextmanager
import io
import os
import re
import signal
import subprocess
import sys
import threading

from endpoint import Endpoint
from endpoint import SYSTEM
from endpoint import user
from lfm_ros import msg
from lfm_ros import srv
from node_support import environment
from node_support import running_node
from PIL import Image
import pytest
from waiting import WAIT

pytest.importorskip('fastapi')
pytest.importorskip('uvicorn')

GO = {'type': 'function', 'function': {
    'name': 'go_to', 'description': 'Drive to a place.', 'parameters': {
        'type': 'object', 'properties': {'place': {'type': 'string'}}, 'required': ['place']}}}


@contextmanager
def lfm_openai(domain, *parameters):
    """Run the endpoint in front of the node in a domain."""
    arguments = [a for p in ('port:=0', *parameters) for a in ('-p', p)]
    process = subprocess.Popen(
        [sys.executable, '-m', 'lfm_ros.openai.main', '--ros-args', *arguments],
        stderr=subprocess.PIPE, text=True, env=environment(ROS_DOMAIN_ID=str(domain)))
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r'(\S+) of /lfm is served at (\S+)', line):
                break
        else:
            raise AssertionError(''.join(lines))
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield Endpoint(process, found[2], found[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope='module')
def node():
    with running_node(model='', model__path='demo', queue__parallel=2) as found:
        yield found


@pytest.fixture(scope='module')
def endpoint(node):
    with lfm_openai(node.node_process.domain) as found:
        yield found


def test_a_conversation_goes_on_in_a_mission_of_the_node(node, endpoint):
    messages = [SYSTEM]
    for text in ('The dock is at waypoint 9.', 'Where is the dock?'):
        messages.append(user(text))
        found = endpoint.chat(messages)
        messages.append(found['choices'][0]['message'])
    assert 'waypoint 9' in messages[-1]['content']
    assert found['usage']['prompt_tokens_details']['cached_tokens'] > 20
    # The same mission is there for robots.
    response = node.ask('Where is the dock?', mission_id=found['lfm_mission'], aside=True)
    assert 'waypoint 9' in response.text


def test_what_a_client_comes_with_is_read(endpoint):
    messages = [{**SYSTEM, 'content': 'You are a ship.'}, user('The dock is at waypoint 4.'),
                {'role': 'assistant', 'content': 'Noted.'}, user('Where is the dock?')]
    assert '4' in endpoint.chat(messages)['choices'][0]['message']['content']


def test_tools_forms_images_and_streams_pass_through(endpoint):
    found = endpoint.chat([user('Drive to the dock.')], tools=[GO], tool_choice='required')
    call, = found['choices'][0]['message']['tool_calls']
    after = [user('Drive to the dock.'), found['choices'][0]['message'],
             {'role': 'tool', 'tool_call_id': call['id'], 'content': 'arrived'}]
    assert endpoint.chat(after, tools=[GO])['choices'][0]['message']['content']
    form = {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': {
        'type': 'object', 'properties': {'n': {'enum': [7]}}, 'required': ['n'],
        'additionalProperties': False}}}
    said = endpoint.chat([user('A number?')], response_format=form)
    assert said['choices'][0]['message']['content'].replace(' ', '') == '{"n":7}'
    with io.BytesIO() as file:
        Image.new('RGB', (48, 48), (10, 10, 250)).save(file, 'JPEG')
        url = 'data:image/jpeg;base64,' + base64.b64encode(file.getvalue()).decode()
    parts = [{'type': 'image_url', 'image_url': {'url': url}},
             {'type': 'text', 'text': 'What colour is it?'}]
    assert endpoint.chat([user(parts)])['usage']['prompt_tokens'] > \
        endpoint.chat([user('What colour is it?')])['usage']['prompt_tokens'] + 8
    events = endpoint.chat([user('Where is the dock?')], stream=True)
    assert events[-1] == '[DONE]' and len(events) > 4


def test_errors_of_the_node_are_said_as_elsewhere(endpoint):
    status, found = endpoint.request('POST', '/v1/chat/completions', {
        'model': endpoint.model, 'messages': [user('word ' * 9000)]})
    assert status == 400 and found['error']['code'] == 'context_length_exceeded'
    status, found = endpoint.request('POST', '/v1/completions', {
        'model': endpoint.model, 'prompt': 'a', 'echo': True, 'logprobs': 1})
    assert status == 400 and 'send texts without logprobs' in found['error']['message']


def test_a_client_that_hangs_up_cancels_in_the_node(node, endpoint):
    body = {'model': endpoint.model, 'messages': [user('Tell me everything.')], 'stream': True,
            'max_tokens': 3000, 'temperature': 5.0, 'min_p': 0.0, 'stop': ['no such text']}
    with endpoint.open('POST', '/v1/chat/completions', body) as response:
        response.readline()
    assert endpoint.chat([user('Where is the dock?')])['choices'][0]['message']['content']


@pytest.mark.parametrize('parameters, said', [
    (['port:=0'], 'no node /lfm'), (['port:=many'], 'port'), (['port:=70000'], '70000'),
    (['host:=0.0.0.0'], 'key'), (['key_file:=/no/such/file'], 'cannot be read')])
def test_what_cannot_be_served_is_said_and_ends_it(parameters, said):
    arguments = [a for p in (*parameters, 'wait:=2.0') for a in ('-p', p)]
    done = subprocess.run(
        [sys.executable, '-m', 'lfm_ros.openai.main', '--ros-args', *arguments],
        capture_output=True, text=True, timeout=WAIT,
        env=environment(ROS_DOMAIN_ID=str(101 + os.getpid() % 100)))
    assert done.returncode == 2 and said in done.stderr and 'Traceback' not in done.stderr


def test_turns_of_elsewhere_are_added_by_a_service(node):
    request = srv.AddTurns.Request(
        mission_id='told', system_prompt='You are a ship.', turns=[
            msg.PastTurn(prompt='The dock is at waypoint 5.', answer='Noted.')])
    assert node.call(srv.AddTurns, '~/missions/add_turns', request).error_code == 0
    assert '5' in node.ask('Where is the dock?', mission_id='told').text
    request.system_prompt = 'You are a car.'
    refused = node.call(srv.AddTurns, '~/missions/add_turns', request)
    assert refused.error_code == 108 and 'another system prompt' in refused.error_msg
