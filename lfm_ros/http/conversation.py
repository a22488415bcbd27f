# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of a request as what a mission is made of: turns, and a question behind them."""
from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import json
from typing import Any

from lfm_ros.engine.text.tools import from_json
from lfm_ros.engine.text.tools import to_json
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.http.errors import ApiError
from lfm_ros.http.requests import Message
from lfm_ros.serving.past_turn import PastTurn

_URI = 'data:'


@dataclass(frozen=True)
class Question:
    """
    What is to be answered.

    :param images: that come before the text.
    :param results: of functions that were called.
    """

    text: str
    images: tuple[EncodedImage, ...] = ()
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """
    All that a client knows of a conversation.

    :param turns: that were answered.
    """

    system_prompt: str
    tools: tuple[Tool, ...]
    turns: tuple[PastTurn, ...]
    question: Question

    def digests(self) -> list[str]:
        """Return a digest of its beginning, and of all up to the end of each turn."""
        found = [_digest('', [self.system_prompt, to_json(self.tools)])]
        for turn in self.turns:
            found.append(after(found[-1], turn))
        return found


def after(digest: str, turn: PastTurn) -> str:
    """Return the digest of a conversation after another turn."""
    calls = [[c.name, json.loads(c.arguments)] for c in turn.calls]
    return _digest(digest, [
        turn.prompt.strip(), turn.answer.strip(), calls, [[r.name, r.content] for r in
                                                          turn.results],
        [hashlib.sha256(i.data).hexdigest() for i in turn.images if isinstance(i, EncodedImage)]])


def _digest(before: str, parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps([before, parts], sort_keys=True).encode()).hexdigest()


def read_conversation(messages: Sequence[Message], tools: Sequence[dict[str, Any]]
                      ) -> Conversation:
    """
    Return the conversation in the messages of a request.

    :raises ApiError: when nothing is asked in it.
    :raises LfmError: INVALID_TOOL.
    """
    named = from_json(json.dumps(list(tools)))
    system, rest = [], list(messages)
    while rest and rest[0].role in ('system', 'developer'):
        system.append(_text(rest.pop(0)))
    turns: list[tuple[PastTurn, dict[str, str]]] = []  # with the names of calls by their ids
    asked: list[tuple[int, Message]] = []
    for place, message in enumerate(rest, len(system)):
        if message.role != 'assistant':
            asked.append((place, message))
            continue
        question = _question(asked, turns)
        calls = tuple(ToolCall(c.function.name, _arguments(c.function.arguments, place))
                      for c in message.tool_calls or ())
        turns.append((PastTurn(question.text, _text(message), question.images, question.results,
                               calls), {c.id: c.function.name for c in message.tool_calls or ()}))
        asked = []
    if not asked:
        raise ApiError(400, 'the last message is one of the assistant or the system: end with one '
                       'of the user or of a tool', 'messages')
    question = _question(asked, turns)
    return Conversation('\n'.join(system), tuple(named), tuple(turn for turn, _ in turns),
                        question)


def _question(asked: Sequence[tuple[int, Message]],
              turns: Sequence[tuple[PastTurn, dict[str, str]]]) -> Question:
    """Return what some messages in a row ask; several of the user are lines of one."""
    texts: list[str] = []
    images: list[EncodedImage] = []
    results: list[ToolResult] = []
    names = turns[-1][1] if turns else {}
    for place, message in asked:
        if message.role == 'tool':
            name = names.get(message.tool_call_id or '')
            if name is None:
                raise ApiError(400, f'tool_call_id is {message.tool_call_id!r}, which the answer '
                               f'before did not call: use one of {", ".join(names) or "none"}',
                               f'messages[{place}].tool_call_id')
            results.append(ToolResult(name, _text(message)))
            continue
        texts.append(_text(message))
        for part in message.content if isinstance(message.content, list) else ():
            if part.type == 'image_url':
                images.append(EncodedImage(_image(part.image_url.url, place)))
    return Question('\n'.join(filter(None, texts)), tuple(images), tuple(results))


def _text(message: Message) -> str:
    if not isinstance(message.content, list):
        return message.content or ''
    return '\n'.join(part.text for part in message.content if part.type == 'text')


def _arguments(text: str, place: int) -> str:
    try:
        found = json.loads(text or '{}')
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiError(400, f'the arguments of a call are not a JSON object but {text[:80]!r}: '
                       'send back what came', f'messages[{place}].tool_calls')
    return json.dumps(found, ensure_ascii=False)


def _image(url: str, place: int) -> bytes:
    where = f'messages[{place}].content'
    if not url.startswith(_URI):
        raise ApiError(400, f'image_url is {url[:60]!r}: a robot fetches nothing, so send the '
                       'image itself as data:image/jpeg;base64,...', where)
    head, comma, data = url.partition(',')
    if not comma or not head.endswith(';base64'):
        raise ApiError(400, f'image_url begins with {head[:60]!r}: send '
                       'data:image/jpeg;base64,...', where)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f'image_url is not base64 ({error}): encode the whole file',
                       where) from error
