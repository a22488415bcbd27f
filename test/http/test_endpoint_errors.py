# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent to the endpoint is answered, in OpenAI's form and with one sentence."""
from __future__ import annotations

import json
import socket

from endpoint import running_endpoint
from endpoint import user
import pytest
from support import assert_one_line
from support import lfm
from waiting import WAIT

pytest.importorskip('fastapi')
pytest.importorskip('uvicorn')

KEY = 'k' * 32
ASK = {'model': 'demo', 'messages': [user('Where?')], 'max_tokens': 4}
CALLED = {'role': 'assistant', 'tool_calls': [
    {'id': 'c1', 'type': 'function', 'function': {'name': 'go', 'arguments': '{}'}}]}
GO = {'type': 'function', 'function': {'name': 'go'}}


@pytest.fixture(scope='module')
def key_file(tmp_path_factory):
    file = tmp_path_factory.mktemp('key') / 'key'
    file.write_text(f'{KEY}\n')
    return str(file)


@pytest.fixture(scope='module')
def endpoint(key_file):
    with running_endpoint('--key-file', key_file) as found:
        yield found


def refused(endpoint, status, body, path='/v1/chat/completions', **headers):
    """Send a body that is refused; return the error."""
    found = endpoint.request('POST', path, body, Authorization=f'Bearer {KEY}', **headers)
    assert found[0] == status, found
    error = found[1]['error']
    assert set(error) == {'message', 'type', 'param', 'code'}
    assert_one_line(error['message'])
    return error


@pytest.mark.parametrize('change, param, said', [
    ({'temprature': 1}, 'temprature', 'did you mean temperature?'),
    ({'max_tokens': 'many'}, 'max_tokens', "max_tokens is 'many'"),
    ({'max_tokens': 0}, 'max_tokens', 'greater than or equal to 1'),
    ({'messages': []}, 'messages', 'at least 1 item'),
    ({'messages': 'Where?'}, 'messages', 'a valid list'),
    ({'messages': [{'role': 'robot', 'content': 'x'}]}, 'messages[0].role', "'robot'"),
    ({'messages': [user([{'type': 'text'}])]}, 'messages[0].content[0].text', 'is missing'),
    ({'messages': [{'role': 'assistant', 'content': 'x'}]}, 'messages', 'end with one'),
    ({'messages': [user('')]}, None, 'the prompt is empty'),
    ({'messages': [user([{'type': 'image_url', 'image_url': {'url': 'http://a/b.png'}}])]},
     'messages[0].content', 'a robot fetches nothing'),
    ({'messages': [user([{'type': 'image_url', 'image_url': {'url': 'data:a;base64,?'}}])]},
     'messages[0].content', 'is not base64'),
    ({'messages': [user([{'type': 'image_url', 'image_url': {'url': 'data:,x'}}])]},
     'messages[0].content', 'send data:image/jpeg;base64'),
    ({'messages': [user([{'type': 'image_url', 'image_url': {
        'url': 'data:image/png;base64,AAAA'}}, {'type': 'text', 'text': 'x'}])]}, None, 'image'),
    ({'messages': [user('x'), CALLED, {'role': 'tool', 'tool_call_id': 'c2', 'content': ''}]},
     'messages[2].tool_call_id', 'use one of c1'),
    ({'messages': [user('x'), CALLED, {'role': 'tool', 'tool_call_id': 'c1', 'content': '1'}]},
     None, 'send the tools, too'),
    ({'tools': [{'type': 'function', 'function': {'name': 'go there'}}]}, None, 'not a tool name'),
    ({'tools': [GO], 'tool_choice': 'maybe'}, 'tool_choice', "'maybe'"),
    ({'tools': [GO], 'tool_choice': {'type': 'function', 'function': {'name': 'stop'}}},
     None, 'stop'),
    ({'response_format': {'type': 'json_schema'}}, 'response_format', 'without a schema'),
    ({'response_format': {'type': 'json_schema', 'json_schema': {
        'name': 'x', 'schema': {'typ': 'object'}}}}, None, 'keyword of JSON Schema'),
    ({'n': 2}, 'n', 'n is 2'), ({'logprobs': True}, 'logprobs', 'logprobs is True'),
    ({'frequency_penalty': 0.5}, 'frequency_penalty', 'frequency_penalty is 0.5'),
    ({'temperature': -1}, 'temperature', 'greater than or equal to 0'),
    ({'lfm_mission': '../x'}, None, 'is not a mission id'),
    ({'messages': [user('word ' * 9000)]}, None, 'tokens'),
])
def test_a_field_that_is_wrong_is_named(endpoint, change, param, said):
    error = refused(endpoint, 400, {**ASK, **change})
    assert error['type'] == 'invalid_request_error' and said in error['message'], error
    assert error['param'] == param


def test_a_context_that_is_too_long_has_the_code_that_clients_look_for(endpoint):
    error = refused(endpoint, 400, {**ASK, 'messages': [user('word ' * 9000)]})
    assert error['code'] == 'context_length_exceeded'


def test_another_model_is_not_found(endpoint):
    assert refused(endpoint, 404, {**ASK, 'model': 'gpt-4o'})['code'] == 'model_not_found'


@pytest.mark.parametrize('body', [b'', b'{', b'[]', b'"x"', b'\xff\xfe', b'null',
                                  b'{"model": ' + b'[' * 100000])
def test_a_body_that_is_no_request_is_refused(endpoint, body):
    refused(endpoint, 400, body)


def test_a_form_of_a_page_elsewhere_is_not_taken_for_json(endpoint):
    refused(endpoint, 400, ASK, Content_Type='text/plain')


def test_paths_and_methods_that_are_not_there_are_named(endpoint):
    assert '/v1/chat/completions' in refused(endpoint, 404, ASK, '/v1/chat')['message']
    assert 'use GET' in refused(endpoint, 405, ASK, '/v1/models')['message']
    with endpoint.open('TRACE', '/v1/models', Authorization=f'Bearer {KEY}') as response:
        assert response.status == 405 and response.headers['Allow'] == 'GET'
    refused(endpoint, 404, ASK, '/v1/embeddings')


@pytest.mark.parametrize('given', [{}, {'Authorization': 'Bearer wrong'},
                                   {'Authorization': KEY}, {'Authorization': f'Bearer {KEY}x'}])
def test_without_the_key_nothing_is_told_but_that_it_lives(endpoint, given):
    for method, path, body in (('GET', '/v1/models', None),
                               ('POST', '/v1/chat/completions', ASK)):
        status, found = endpoint.request(method, path, body, **given)
        assert status == 401 and found['error']['code'] == 'invalid_api_key'
    assert endpoint.request('GET', '/health', **given)[0] == 200


def test_it_is_not_reached_under_a_name_of_someone_else(endpoint):
    status, found = endpoint.request('GET', '/v1/models', Host='evil.example:80',
                                     Authorization=f'Bearer {KEY}')
    assert status == 421 and found['error']['code'] == 'wrong_host'


def test_a_body_that_is_too_long_is_refused_before_it_is_read(endpoint):
    status, found = endpoint.request('POST', '/v1/chat/completions', b'{}',
                                     Content_Length=str(1 << 40),
                                     Authorization=f'Bearer {KEY}')
    assert status == 413 and found['error']['code'] == 'too_long'


def test_other_texts_of_completions_are_refused(endpoint):
    for change, said in (({'logprobs': 1}, 'set echo'),
                         ({'stream': True, 'echo': True}, 'leave out one of them'),
                         ({'prompt': ''}, 'empty')):
        error = refused(endpoint, 400, {'model': 'demo', 'prompt': 'a', 'max_tokens': 2,
                                        **change}, '/v1/completions')
        assert said in error['message'], error


def test_too_many_who_wait_are_told_to_come_again(key_file):
    with running_endpoint('--queue', '1', '--parallel', '1') as endpoint:
        body = {**ASK, 'max_tokens': 3000, 'stream': True, 'temperature': 5.0, 'min_p': 0.0}
        with endpoint.open('POST', '/v1/chat/completions', body) as first:
            first.readline()
            held = []
            for _ in range(3):
                connection = socket.create_connection(
                    tuple(endpoint.address.rsplit(':', 1)), timeout=WAIT)
                data = json.dumps(body).encode()
                connection.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n'
                                   b'Content-Type: application/json\r\nContent-Length: '
                                   + str(len(data)).encode() + b'\r\n\r\n' + data)
                held.append(connection)
            status, found = endpoint.request('POST', '/v1/chat/completions', ASK)
            for connection in held:
                connection.close()
        assert status == 429 and found['error']['type'] == 'rate_limit_error'


@pytest.mark.parametrize('options, said', [
    (['--host', '0.0.0.0'], 'give a file with a key'),
    (['--port', '70000'], 'between 0'), (['--port', '{taken}'], 'cannot be listened on'),
    (['--host', 'no.such.host.invalid'], 'give a file'),
    (['--key-file', '/no/such/file'], 'cannot be read'),
    (['--parallel', '0'], '--parallel is 0'), (['--max-tokens', '0'], '--max-tokens is 0')])
def test_what_cannot_be_served_is_refused_before_the_model_is_opened(options, said):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        options = [option.format(taken=taken.getsockname()[1]) for option in options]
        done = lfm('serve', 'no such model', *options)
    assert done.returncode in (1, 2) and not done.stdout
    assert said in done.stderr
    assert_one_line(done.stderr.strip())


def test_a_key_that_is_too_short_is_refused(tmp_path):
    (tmp_path / 'key').write_text('short')
    done = lfm('serve', 'demo', '--key-file', tmp_path / 'key')
    assert done.returncode == 2 and 'has 5 characters' in done.stderr
