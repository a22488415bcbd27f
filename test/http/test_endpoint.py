# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm serve` answers OpenAI's interface, and reads of a conversation only what is new."""
from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
import http.client
import io
import json
import signal

from endpoint import running_endpoint
from endpoint import SYSTEM
from endpoint import user
from PIL import Image
import pytest
from waiting import WAIT

pytest.importorskip('fastapi')
pytest.importorskip('uvicorn')

GO = {'type': 'function', 'function': {
    'name': 'go_to', 'description': 'Drive to a place.', 'parameters': {
        'type': 'object', 'properties': {'place': {'type': 'string'}}, 'required': ['place']}}}
TURNS = ['Where is the dock?', 'The dock is at waypoint 9.', 'Where is the dock?', 'Thank you.']


@pytest.fixture(scope='module')
def endpoint():
    with running_endpoint('--system', 'You are a boat.', '--conversations', '6') as found:
        yield found


def talk(endpoint, messages, *questions, **fields):
    """Ask questions in a conversation; return all answers."""
    answers = []
    for question in questions:
        messages.append(user(question))
        found = endpoint.chat(messages, **fields)
        answers.append(found)
        messages.append(found['choices'][0]['message'])
    return answers


def test_the_model_is_listed_and_described(endpoint):
    status, found = endpoint.request('GET', '/v1/models')
    assert status == 200 and [each['id'] for each in found['data']] == ['demo']
    assert endpoint.request('GET', '/v1/models/demo')[1]['max_model_len'] == 4096
    assert endpoint.request('GET', '/health') == (200, {'status': 'ok'})
    assert '/v1/chat/completions' in endpoint.request('GET', '/openapi.json')[1]['paths']


def test_a_turn_reads_only_what_is_new(endpoint):
    answers = talk(endpoint, [SYSTEM], *TURNS)
    before = 0
    for found in answers:
        usage = found['usage']
        assert found['choices'][0]['finish_reason'] == 'stop'
        # All but the last token of the answer before, which is read with what closes it.
        assert usage['prompt_tokens_details']['cached_tokens'] >= before - 1
        before = usage['total_tokens']
    assert 'waypoint 9' in answers[2]['choices'][0]['message']['content']
    assert len({found['lfm_mission'] for found in answers}) == 1


def test_the_answer_is_that_of_a_mission_that_was_told_the_same(endpoint):
    messages = [SYSTEM]
    told = [a['choices'][0]['message']['content'] for a in talk(endpoint, messages, *TURNS)]
    # Nobody has held this conversation, whose system prompt differs by a dot.
    other = [{**SYSTEM, 'content': 'You are a robot'}]
    assert [a['choices'][0]['message']['content'] for a in talk(endpoint, other, *TURNS)] == told
    # A client that comes with the whole of it at once.
    again = endpoint.chat([{**SYSTEM, 'content': 'You are a robot!'}, *messages[1:-1]])
    assert again['choices'][0]['message']['content'] == told[-1]


def test_a_conversation_may_branch_and_each_branch_goes_on(endpoint):
    messages = [SYSTEM]
    talk(endpoint, messages, *TURNS[:2])
    branches = [list(messages), list(messages)]
    found = [talk(endpoint, branch, question)[0] for branch, question in zip(
        branches, ('Where is the dock?', 'The pump is at waypoint 3.'))]
    for each in found:
        assert each['usage']['prompt_tokens_details']['cached_tokens'] > 30
    last = talk(endpoint, branches[1], 'Where is the pump?')[0]
    assert 'waypoint 3' in last['choices'][0]['message']['content']
    assert 'waypoint 9' in found[0]['choices'][0]['message']['content']
    # Asked once more, the same question continues the same beginning.
    again = endpoint.chat(branches[0][:-1])
    assert again['choices'][0]['message'] == found[0]['choices'][0]['message']
    assert again['usage']['total_tokens'] == found[0]['usage']['total_tokens']


def test_history_that_was_changed_is_read_as_it_is_now(endpoint):
    messages = [SYSTEM, user('The dock is at waypoint 9.'),
                {'role': 'assistant', 'content': 'Noted.'}]
    assert '9' in talk(endpoint, list(messages), 'Where is the dock?')[0][
        'choices'][0]['message']['content']
    messages[1] = user('The dock is at waypoint 4.')
    assert '4' in talk(endpoint, messages, 'Where is the dock?')[0][
        'choices'][0]['message']['content']


def test_a_stream_gives_the_same_answer_in_pieces(endpoint):
    messages = [SYSTEM, user('Where is the dock?')]
    whole = endpoint.chat(messages)
    events = endpoint.chat(messages, stream=True, stream_options={'include_usage': True})
    assert events.pop() == '[DONE]'
    *pieces, last = map(json.loads, events)
    assert pieces[0]['choices'][0]['delta'] == {'role': 'assistant', 'content': ''}
    assert ''.join(p['choices'][0]['delta'].get('content', '') for p in pieces) == \
        whole['choices'][0]['message']['content']
    assert pieces[-1]['choices'][0]['finish_reason'] == 'stop'
    assert last['choices'] == []
    assert last['usage']['total_tokens'] == whole['usage']['total_tokens']


def test_a_function_is_called_and_its_result_is_read(endpoint):
    messages = [user('Drive to the dock.')]
    found = endpoint.chat(messages, tools=[GO], tool_choice='required')
    choice = found['choices'][0]
    call, = choice['message']['tool_calls']
    assert choice['finish_reason'] == 'tool_calls' and choice['message']['content'] is None
    assert set(json.loads(call['function']['arguments'])) == {'place'}
    events = endpoint.chat(messages, tools=[GO], tool_choice={
        'type': 'function', 'function': {'name': 'go_to'}}, stream=True)
    streamed = [json.loads(event)['choices'][0]['delta'] for event in events[:-1]]
    assert [d['tool_calls'][0]['function'] for d in streamed if 'tool_calls' in d] == [
        call['function']]
    messages += [choice['message'], {'role': 'tool', 'tool_call_id': call['id'],
                                     'content': 'arrived'}]
    after = endpoint.chat(messages, tools=[GO])
    assert after['choices'][0]['message']['content']
    assert after['usage']['prompt_tokens_details']['cached_tokens'] >= \
        found['usage']['total_tokens'] - 1


@pytest.mark.parametrize('kind', ['json_schema', 'json_object'])
def test_an_answer_has_the_form_that_is_wanted(endpoint, kind):
    schema = {'type': 'object', 'properties': {'number': {'type': 'integer', 'maximum': 99}},
              'required': ['number'], 'additionalProperties': False}
    form = {'type': kind} if kind == 'json_object' else {
        'type': kind, 'json_schema': {'name': 'answer', 'schema': schema, 'strict': True}}
    found = endpoint.chat([user('The dock is at waypoint 9. Where is it?')], max_tokens=200,
                          response_format=form, temperature=0.3, seed=1)['choices'][0]
    if found['finish_reason'] == 'stop':
        assert isinstance(json.loads(found['message']['content']), dict)
    if kind == 'json_schema':
        assert set(json.loads(found['message']['content'])) == {'number'}


def test_an_image_is_seen(endpoint):
    with io.BytesIO() as file:
        Image.new('RGB', (64, 64), (250, 10, 10)).save(file, 'PNG')
        url = 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()
    parts = [{'type': 'image_url', 'image_url': {'url': url, 'detail': 'high'}},
             {'type': 'text', 'text': 'What colour is it?'}]
    found = endpoint.chat([user(parts)])
    without = endpoint.chat([user(parts[1:])])
    assert found['usage']['prompt_tokens'] > without['usage']['prompt_tokens'] + 8
    # What was seen is part of the conversation.
    more = [user(parts), found['choices'][0]['message'], user('And now?')]
    assert endpoint.chat(more)['usage']['prompt_tokens_details']['cached_tokens'] >= \
        found['usage']['total_tokens'] - 1


def test_a_named_mission_gets_only_what_follows_the_last_answer(endpoint):
    said = [endpoint.chat([SYSTEM, user('ignored'), {'role': 'assistant', 'content': 'ignored'},
                           user(text)], lfm_mission='patrol')
            for text in ('The dock is at waypoint 9.', 'Where is the dock?')]
    assert {found['lfm_mission'] for found in said} == {'patrol'}
    assert 'waypoint 9' in said[1]['choices'][0]['message']['content']


def test_texts_are_continued_and_weighed(endpoint):
    def complete(**fields):
        return endpoint.request('POST', '/v1/completions', {
            'model': 'demo', 'temperature': 0, 'max_tokens': 4, **fields})

    status, found = complete(prompt=['The dock is', 'Where'])
    assert status == 200 and len(found['choices']) == 2
    text = found['choices'][0]['text']
    events = complete(prompt='The dock is', stream=True)[1]
    assert ''.join(json.loads(e)['choices'][0]['text'] for e in events[:-1]) == text
    echoed = complete(prompt='The dock is', echo=True)[1]['choices'][0]['text']
    assert echoed == 'The dock is' + text
    weighed = complete(prompt='The dock is at', echo=True, logprobs=1, max_tokens=0)[1]
    found = weighed['choices'][0]
    assert found['text'] == 'The dock is at' == ''.join(found['logprobs']['tokens'])
    first, *others = found['logprobs']['token_logprobs']
    assert first is None and all(value < 0 for value in others)
    for value, best in zip(others, found['logprobs']['top_logprobs'][1:]):
        assert max(best.values()) >= value


def test_the_same_question_from_many_clients_is_answered_to_all(endpoint):
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: endpoint.chat([SYSTEM, user('Where is the dock?')]),
                              range(24)))
    assert len({f['choices'][0]['message']['content'] for f in found}) == 1


def test_a_client_that_hangs_up_ends_its_answer_and_the_conversation_is_as_it_was(endpoint):
    messages = [SYSTEM]
    talk(endpoint, messages, 'The dock is at waypoint 9.')
    long = [*messages, user('Tell me everything.')]
    body = {'model': 'demo', 'messages': long, 'max_tokens': 3000, 'temperature': 5.0,
            'min_p': 0.0, 'stop': ['no such text']}
    for _ in range(2):
        with endpoint.open('POST', '/v1/chat/completions', {**body, 'stream': True}) as response:
            response.readline()
        connection = http.client.HTTPConnection(endpoint.address, timeout=WAIT)
        connection.request('POST', '/v1/chat/completions', json.dumps(body).encode(),
                           {'Content-Type': 'application/json'})
        connection.close()
    # All threads of the model are free again, or this would wait for 3000 tokens each.
    found = talk(endpoint, messages, 'Where is the dock?')[0]
    assert 'waypoint 9' in found['choices'][0]['message']['content']


def test_it_ends_at_a_signal_and_leaves_no_conversation_behind():
    with running_endpoint() as endpoint:
        endpoint.chat([user('Where is the dock?')])
        endpoint.process.send_signal(signal.SIGTERM)
        assert endpoint.process.wait(WAIT) == 0
