# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is said to the node and what it answers is in no log, whatever goes wrong."""
from collections.abc import Iterator
from copy import copy
import itertools

from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import query
from node_support import ODD_NODE
from node_support import running_node
import pytest
from std_msgs.msg import String

WORD = 'quetzal'  # with a number for each place in which something can be said
_ends = itertools.count()

# Names of missions are told where the node or its load failed, and no name in a bad request.
SAID = {
    'a prompt': {},
    'a prompt with a value out of range': {'max_tokens': -1},
    'a prompt with sampling that cannot be': {'sampling': msg.Sampling(top_p=7.0)},
    'a prompt for a mission that cannot be': {'mission_id': '../etc'},
    'a prompt that is not UTF-8': {'prompt': '{} \ufffd'},
    'a prompt that is too long': {'prompt': '{} ' * 2000},
    'a prompt with an image for a text model': {'use_camera': True},
    'a prompt at which the model fails': {'prompt': '(fail 1) {}'},
    'a prompt at which something unexpected fails': {'prompt': '(crash 1) {}'},
    'a prompt that times out': {'prompt': '(slow 50) {}', 'timeout': 0.3},
    'a stop text that is too long': {'prompt': 'hello', 'stop': ['{}' * 99]},
    'a choice': {'response_format': msg.ResponseFormat(choices=['{} yes', '{} no'])},
    'a choice that is too long': {'response_format': msg.ResponseFormat(choices=['{}' * 999])},
    'a result of a tool': {'tool_results': [msg.ToolResult(name='look', content='{}')]},
    'a description of a tool': {'tools': [msg.Tool(name='look', description='{}')]},
    'a text to be continued': {'raw': True},
    'a name of a mission that cannot be': {'mission_id': '/{}'},
    'a name of a tool that cannot be': {'tools': [msg.Tool(name='{} x')]},
    'a choice of a tool that is not there': {'tool_choice': '{}'},
    'a schema that cannot be': {'response_format': msg.ResponseFormat(
        json_schema='{"type": "{}"}')},
    'a suffix': {'prompt': 'hello', 'raw': True, 'suffix': '{}'},
}


def said(fields: object, word: str) -> object:
    """Return fields of a message with the word where the braces are."""
    if isinstance(fields, str):
        return fields.replace('{}', word)
    if isinstance(fields, list):
        return [said(f, word) for f in fields]
    if hasattr(fields, 'get_fields_and_field_types'):
        fields = copy(fields)  # those in SAID are for more than one test
        for name in fields.get_fields_and_field_types():
            setattr(fields, name, said(getattr(fields, name), word))
    return fields


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node whose model fails on command."""
    with running_node(program=ODD_NODE, check_end=False) as client:
        yield client


def log_of(client: Client) -> str:
    """Return the log of the node when all that came so far is in it."""
    name = f'end {next(_ends)}'
    client.ask('a', mission_id=name, timeout=1e-9)  # a timeout is logged with its mission
    client.wait_until(lambda: name in client.node_process.log, 'end of the log')
    return client.node_process.log


@pytest.mark.parametrize('what', SAID)
def test_a_log_does_not_tell(client: Client, what: str) -> None:
    word = f'{WORD}{list(SAID).index(what)}'
    fields = {'prompt': f'hello {word}', 'mission_id': 'm', 'max_tokens': 20, **SAID[what]}
    response = client.ask_query(query(**{k: said(v, word) for k, v in fields.items()}))
    log = log_of(client)
    assert word not in log
    assert len(response.text) < 4 or response.text not in log


def test_a_log_does_not_tell_what_came_by_topic(client: Client) -> None:
    responses = client.subscribe(msg.Response, '~/response')
    prompts = client.publisher(String, '~/prompt')
    for text in (f'{WORD}A', f'{WORD}B \ufffd'):
        prompts.publish(String(data=text))
    responses.wait(count=2)
    observe = client.publisher(msg.Observation, '~/observe')
    for text in (f'{WORD}C', f'{WORD}D ' * 2000, f'{WORD}E \ufffd'):
        observe.publish(msg.Observation(mission_id='o', text=text))
    client.wait_until(lambda: 'was lost' in client.node_process.log, 'loss of an observation')
    client.call(srv.Tokenize, '~/tokenize', srv.Tokenize.Request(text=f'{WORD}F' * 9999))
    assert WORD not in log_of(client)


def test_a_log_at_debug_quotes_refused_names_and_forms_and_nothing_of_a_prompt() -> None:
    quoted = []
    with running_node('--log-level', 'debug', program=ODD_NODE, check_end=False) as client:
        for number, (what, extra) in enumerate(SAID.items()):
            word = f'{WORD}{number}'
            fields = {'prompt': f'hello {word}P', 'mission_id': 'm', 'max_tokens': 20,
                      **{k: said(v, f'{word}P' if k == 'prompt' else f'{word}F')
                         for k, v in extra.items()}}
            response = client.ask_query(query(**fields))
            log = log_of(client)
            assert f'{word}P' not in log, what
            assert len(response.text) < 4 or response.text not in log, what
            lines = [line for line in log.splitlines() if f'{word}F' in line]
            assert all(line.startswith('[DEBUG]') for line in lines), what
            quoted += [what] * bool(lines)
        observe = client.publisher(msg.Observation, '~/observe')
        for text in (f'{WORD}C', f'{WORD}D ' * 2000, f'{WORD}E \ufffd'):
            observe.publish(msg.Observation(mission_id='o', text=text))
        client.wait_until(lambda: 'was lost' in client.node_process.log, 'loss of an observation')
        log = log_of(client)
        assert not any(f'{WORD}{letter}' in log for letter in 'CDE')
    assert quoted == [
        'a name of a mission that cannot be', 'a name of a tool that cannot be',
        'a choice of a tool that is not there', 'a schema that cannot be']
