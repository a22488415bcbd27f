# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The package `openai` gets from the endpoint what it gets elsewhere."""
from __future__ import annotations

import asyncio
import json

from endpoint import running_endpoint
from endpoint import SYSTEM
from endpoint import user
import pytest

openai = pytest.importorskip('openai')
pydantic = pytest.importorskip('pydantic')
pytest.importorskip('uvicorn')


class Place(pydantic.BaseModel):
    """Where something is."""

    waypoint: int


@pytest.fixture(scope='module')
def endpoint():
    with running_endpoint() as found:
        yield found


@pytest.fixture(scope='module')
def client(endpoint):
    with openai.OpenAI(base_url=endpoint.url, api_key='none', max_retries=0) as found:
        yield found


def test_it_lists_the_model(client):
    assert [model.id for model in client.models.list()] == ['demo']


def test_it_holds_a_conversation(client):
    messages = [SYSTEM]
    for text in ('The dock is at waypoint 9.', 'Where is the dock?'):
        messages.append(user(text))
        found = client.chat.completions.create(model='demo', messages=messages, temperature=0)
        messages.append(found.choices[0].message)
    assert 'waypoint 9' in messages[-1].content
    assert found.usage.prompt_tokens_details.cached_tokens > 0


def test_it_streams(client):
    with client.chat.completions.stream(
            model='demo', messages=[SYSTEM, user('Where is the dock?')], temperature=0) as stream:
        pieces = [event.delta for event in stream if event.type == 'content.delta']
        found = stream.get_final_completion()
    assert ''.join(pieces) == found.choices[0].message.content != ''


def test_it_streams_in_asyncio(endpoint):
    async def ask():
        async with openai.AsyncOpenAI(base_url=endpoint.url, api_key='none') as client:
            stream = await client.chat.completions.create(
                model='demo', messages=[SYSTEM, user('Where is the dock?')], stream=True)
            return [chunk.choices[0].delta.content async for chunk in stream]

    assert ''.join(filter(None, asyncio.run(ask())))


def test_it_parses_structured_output(client):
    found = client.chat.completions.parse(
        model='demo', messages=[SYSTEM, user('The dock is at waypoint 9. Where is it?')],
        response_format=Place, temperature=0)
    assert isinstance(found.choices[0].message.parsed, Place)


def test_it_calls_tools(client):
    tool = openai.pydantic_function_tool(Place, name='look_at')
    found = client.chat.completions.parse(
        model='demo', messages=[user('Look at waypoint 3.')], tools=[tool],
        tool_choice='required', temperature=0)
    call, = found.choices[0].message.tool_calls
    assert call.function.name == 'look_at' and isinstance(call.function.parsed_arguments, Place)
    assert json.loads(call.function.arguments)['waypoint'] == 3


def test_it_continues_texts(client):
    found = client.completions.create(model='demo', prompt='The dock is', max_tokens=3)
    assert found.usage.completion_tokens == 3


def test_errors_come_as_its_own(client):
    with pytest.raises(openai.NotFoundError, match='the model here is'):
        client.chat.completions.create(model='gpt-4o', messages=[user('x')])
    with pytest.raises(openai.BadRequestError, match='did you mean temperature'):
        client.chat.completions.create(model='demo', messages=[user('x')],
                                       extra_body={'temprature': 1})
