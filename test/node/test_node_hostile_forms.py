# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Forms and tools that are made to hurt cost their sender time, and nobody else anything.

``LFM_ROS_HOSTILE=2000`` sends that many forms, and a fifth of it tools, instead of the few of
every test run; ``bench/hostile_forms.py`` sends as many as you like.
"""
from collections.abc import Iterator
import json
import os
import threading
from typing import Any

from hostile_attack import Attack
from hostile_attack import EXPECTED
from hostile_attack import Stream
from hostile_depths import chain
from hostile_depths import dump
from hostile_requests import form_case
from hostile_requests import hostile_form
from hostile_requests import hostile_tool
from hostile_requests import tools_case
from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import query
from node_support import running_node
from process_tree import descendants
from process_tree import wait_for_end
import pytest

FORMS = int(os.environ.get('LFM_ROS_HOSTILE', '150'))
TOOLS = FORMS // 5
SEED = os.environ.get('LFM_ROS_HOSTILE_SEED', '1')
TIMEOUT = 3.0
SLOW = 60.0  # seconds more, on a machine that is busy: bench/hostile_forms.py tells how many
R = msg.Response
COUNTS = '((a{1000}){1000}){1000}'
MULTIPLES = {'allOf': [{'type': 'integer', 'multipleOf': n} for n in (2, 3, 101, 1001, 0.06)]}
MANY = {f'p{i}': {} for i in range(5000)}
PATTERNS = {'allOf': [{'type': 'string', 'pattern': str(i)} for i in range(300)]}

NAMED: dict[str, dict[str, Any]] = {
    'a chain of 3,000 rules': hostile_form(grammar='\n'.join(
        ['start:r0', *(f'r{i}:r{i + 1}' for i in range(3000)), 'r3000:"x"'])),
    '3,000 rules in a circle': hostile_form(grammar='\n'.join(
        ['start:r0', *(f'r{i}:"a"r{(i + 1) % 3000}|""' for i in range(3000))])),
    'a tower of 2,000 terminals': hostile_form(grammar='\n'.join(
        ['start:A0', *(f'A{i}:~(A{i + 1} "a")' for i in range(2000)), 'A2000:"x"'])),
    '1,500 nested items': hostile_form(json_schema=dump(chain(1500, lambda r: {'items': r}))),
    '1,500 nested allOf': hostile_form(json_schema=dump(chain(1500, lambda r: {'allOf': [r]}))),
    'an intersection of 300': hostile_form(grammar='start: A\nA: ' + ' & '.join(
        f'/.*{i}.*/' for i in range(300))),
    'an intersection of 300 patterns': hostile_form(json_schema=dump(PATTERNS)),
    'multiples of five numbers': hostile_form(json_schema=dump(MULTIPLES)),
    'a count of counts of counts': hostile_form(regex=COUNTS),
    'a count of counts of counts, later': hostile_form(grammar=f'start: "xyz" /{COUNTS}/'),
    '10,000 optional rules': hostile_form(
        grammar='start: ' + '[a] ' * 10_000 + '\na: "a" | "b"'),
    '5,000 properties': hostile_form(json_schema=dump({'properties': MANY})),
    'a parameter that counts to the left': hostile_form(
        grammar='start: p::0\np::_: p::incr(_) "a" | ""'),
    'a number of 400 digits': hostile_form(
        json_schema='{"type": "integer", "minimum": 1%s}' % ('0' * 400)),
    'a tool: multiples of five numbers': hostile_tool(dump(
        {'properties': {'x': MULTIPLES}, 'required': ['x']})),
    'a tool: 100 patterns': hostile_tool(dump({'properties': {'x': {'allOf': [
        {'pattern': str(i)} for i in range(100)]}}, 'required': ['x']})),
    'a tool: a count of counts of counts': hostile_tool(dump(
        {'properties': {'x': {'type': 'string', 'pattern': COUNTS}}, 'required': ['x']})),
    'a tool: required is no list': hostile_tool('{"properties": {"x": {}}, "required": 5}')}


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node with the demo model."""
    with running_node(model='', model__path='demo', queue__size=100) as client:
        assert client.ask('Hello.', max_tokens=2).error_code == R.NONE
        yield client


@pytest.mark.parametrize('name', NAMED)
def test_a_named_form_is_answered_in_time_and_plain_questions_meanwhile(
        client: Client, name: str) -> None:
    hostile = query(**{**NAMED[name], 'timeout': TIMEOUT, 'mission_id': 'hostile'})
    process, ended = client.node_process.process, threading.Event()
    asked = client.call_async(srv.Ask, '~/ask', srv.Ask.Request(query=hostile))
    asked.add_done_callback(lambda _: ended.set())
    plain = client.ask('Where is the dock?', mission_id='plain', aside=True, max_tokens=8,
                       timeout=SLOW)
    assert plain.error_code == R.NONE, f'{process.poll()}: {plain.error_msg}'
    assert ended.wait(TIMEOUT + SLOW), 'the form is not answered'
    response = asked.result().response
    assert response.error_code in EXPECTED, response.error_msg
    assert process.poll() is None


def test_hostile_forms_and_tools_hurt_nobody_and_ordinary_ones_are_right(client: Client) -> None:
    attack = Attack(client, lambda number: tools_case(f'{SEED} {number}') if number % 6 == 5
                    else form_case(f'{SEED} {number}'), late=SLOW)
    process = client.node_process.process
    with Stream(client) as stream:
        attack.run(range(FORMS + TOOLS))
    assert attack.alive, f'the node ended with {process.wait()} during {attack.in_flight}'
    assert not attack.result.faults, '\n'.join(attack.result.faults)
    assert attack.result.sent == FORMS + TOOLS
    assert attack.result.ordinary['right'] > attack.result.sent / 5, attack.result.ordinary
    assert stream.answers and not stream.errors, stream.errors
    print(f'{attack.result.sent} cases: codes {dict(attack.result.codes)}, ordinary '
          f'{dict(attack.result.ordinary)}; latest {attack.result.overruns[0]}')


def test_after_the_attack_the_node_answers_forms_and_ends_with_its_children() -> None:
    with running_node(model='', model__path='demo') as client:
        pid = client.node_process.process.pid
        client.ask_query(query(**{**NAMED['an intersection of 300'], 'timeout': 2.0}))
        schema = json.dumps({'type': 'object', 'properties': {'go': {'type': 'boolean'}},
                             'required': ['go'], 'additionalProperties': False})
        response = client.ask('Go.', max_tokens=30, timeout=SLOW,
                              response_format=msg.ResponseFormat(json_schema=schema))
        assert response.error_code == R.NONE, response.error_msg
        assert isinstance(json.loads(response.text)['go'], bool)
        children = descendants(pid)
    for child in children:
        if child.alive:
            wait_for_end(child.pid)
