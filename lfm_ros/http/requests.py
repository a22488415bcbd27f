# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bodies of requests, as OpenAI's interface has them, and what is ours beside them."""
from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

MAX_MESSAGES = 4096

Text = Annotated[str, Field(max_length=1 << 20)]


class Body(BaseModel):
    """A body; what it does not know is refused, not left out in silence."""

    model_config = ConfigDict(extra='forbid')


class TextPart(Body):
    """Text in a message."""

    type: Literal['text']
    text: Text


class ImageUrl(Body):
    """An image."""

    url: str = Field(description='a data URI: data:image/jpeg;base64,...')
    detail: Literal['auto', 'low', 'high'] = 'auto'


class ImagePart(Body):
    """An image in a message."""

    type: Literal['image_url']
    image_url: ImageUrl


class CalledFunction(Body):
    """The function of a call."""

    name: str
    arguments: Text = Field(description='a JSON object, as text')


class Call(Body):
    """A call of a function by the model."""

    id: str
    type: Literal['function'] = 'function'
    function: CalledFunction
    index: Union[int, None] = None


class Message(Body):
    """A message of a conversation."""

    role: Literal['system', 'developer', 'user', 'assistant', 'tool']
    content: Union[
        Text, list[Annotated[Union[TextPart, ImagePart], Field(discriminator='type')]], None
    ] = None
    name: Union[str, None] = None
    tool_calls: Union[list[Call], None] = None
    tool_call_id: Union[str, None] = None
    refusal: None = None
    # What our own answers hold beside these, when they are sent back.
    annotations: Any = None
    audio: None = None
    function_call: None = None
    reasoning_content: Any = None


class NamedFunction(Body):
    """The name of a function."""

    name: str


class NamedTool(Body):
    """The tool that must be called."""

    type: Literal['function'] = 'function'
    function: NamedFunction


class JsonSchema(Body):
    """A schema with its name."""

    model_config = ConfigDict(extra='forbid', protected_namespaces=())
    name: str = ''
    description: Union[str, None] = None
    schema_: dict[str, Any] = Field(alias='schema')
    strict: Union[bool, None] = None


class AnswerFormat(Body):
    """The form of an answer."""

    type: Literal['text', 'json_object', 'json_schema']
    json_schema: Union[JsonSchema, None] = None


class StreamOptions(Body):
    """What is sent with a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Generation(Body):
    """What all requests share that generate text."""

    model: str
    stream: Union[bool, None] = False
    stream_options: Union[StreamOptions, None] = None
    stop: Union[str, Annotated[list[str], Field(max_length=16)], None] = None
    seed: Union[int, None] = None
    temperature: Union[Annotated[float, Field(ge=0, le=5)], None] = None
    top_p: Union[Annotated[float, Field(ge=0, le=1)], None] = None
    top_k: Union[Annotated[int, Field(ge=-1)], None] = None
    min_p: Union[Annotated[float, Field(ge=0, le=1)], None] = None
    repetition_penalty: Union[Annotated[float, Field(ge=0.1, le=5)], None] = None
    n: Union[Literal[1], None] = 1
    # Taken where they change nothing.
    frequency_penalty: Union[Literal[0], None] = Field(
        None, description='only 0: set repetition_penalty')
    presence_penalty: Union[Literal[0], None] = Field(
        None, description='only 0: set repetition_penalty')
    logit_bias: Union[Annotated[dict[str, float], Field(max_length=0)], None] = None
    user: Any = None
    timeout: Union[Annotated[float, Field(ge=0, le=86400)], None] = Field(
        None, description='seconds to the end of the answer; ours')


class ChatRequest(Generation):
    """A request to /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Union[Annotated[int, Field(ge=1, le=1 << 20)], None] = None
    max_completion_tokens: Union[Annotated[int, Field(ge=1, le=1 << 20)], None] = None
    tools: Union[list[dict[str, Any]], None] = None
    tool_choice: Union[Literal['none', 'auto', 'required'], NamedTool, None] = None
    parallel_tool_calls: Union[bool, None] = None
    response_format: Union[AnswerFormat, None] = None
    logprobs: Union[Literal[False], None] = None
    top_logprobs: Union[Literal[0], None] = None
    metadata: Any = None
    store: Union[Literal[False], None] = None
    service_tier: Any = None
    modalities: Union[list[Literal['text']], None] = None
    lfm_mission: Union[str, None] = Field(
        None, description='a mission by its name, which gets only what follows the last answer')


Ids = list[Annotated[int, Field(ge=0)]]


class CompletionRequest(Generation):
    """A request to /v1/completions."""

    prompt: Union[Text, list[Text], Ids, list[Ids]]
    suffix: Union[Text, None] = None
    max_tokens: Union[Annotated[int, Field(ge=0, le=1 << 20)], None] = 16
    echo: Union[bool, None] = False
    logprobs: Union[Annotated[int, Field(ge=0, le=1)], None] = None
    best_of: Union[Literal[1], None] = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Return the texts to continue, or their ids."""
        given: Any = self.prompt
        several = isinstance(given, list) and given and not isinstance(given[0], int)
        return list(given) if several else [given]
