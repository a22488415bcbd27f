# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as OpenAI's interface has them."""
from __future__ import annotations

from collections.abc import Sequence
import json
import time
from typing import Any
import uuid

from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.serving.answer import Answer

_REASONS = {'context': 'length'}


class ChatAnswer:
    """
    The objects of one answer to a chat.

    :param model: its name.
    """

    def __init__(self, model: str) -> None:
        self._shared = {'id': f'chatcmpl-{uuid.uuid4().hex}', 'created': int(time.time()),
                        'model': model}

    def whole(self, answer: Answer, text: str) -> dict[str, Any]:
        """Return the answer in one piece."""
        calls = _calls(answer.tool_calls)
        message = {'role': 'assistant', 'content': text if text or not calls else None,
                   'refusal': None, **({'tool_calls': calls} if calls else {})}
        return {**self._shared, 'object': 'chat.completion', 'choices': [
            {'index': 0, 'message': message, 'logprobs': None,
             'finish_reason': reason(answer)}], 'usage': usage(answer),
            'lfm_mission': answer.mission_id}

    def first_chunks(self) -> list[dict[str, Any]]:
        """Return what comes before the text."""
        return [self._chunk({'role': 'assistant', 'content': ''})]

    def chunk(self, text: str) -> dict[str, Any]:
        """Return a piece of the text."""
        return self._chunk({'content': text})

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {**self._shared, 'object': 'chat.completion.chunk', 'choices': [
            {'index': 0, 'delta': delta, 'logprobs': None, 'finish_reason': finish_reason}]}

    def last_chunks(self, answer: Answer, with_usage: bool) -> list[dict[str, Any]]:
        """Return what comes behind the text."""
        calls = [{'index': n, **call} for n, call in enumerate(_calls(answer.tool_calls))]
        found = [self._chunk({'tool_calls': calls})] if calls else []
        found.append(self._chunk({}, reason(answer)))
        if with_usage:
            found.append({**self._shared, 'object': 'chat.completion.chunk', 'choices': [],
                          'usage': usage(answer)})
        return found


class TextAnswer:
    """The objects of one answer to a completion; see :class:`ChatAnswer`."""

    def __init__(self, model: str) -> None:
        self._shared = {'id': f'cmpl-{uuid.uuid4().hex}', 'object': 'text_completion',
                        'created': int(time.time()), 'model': model}

    def first_chunks(self) -> list[dict[str, Any]]:
        """Return what comes before the text: nothing."""
        return []

    def chunk(self, text: str, finish_reason: str | None = None) -> dict[str, Any]:
        """Return a piece of the text."""
        return {**self._shared, 'choices': [_choice(0, text, None, finish_reason)]}

    def last_chunks(self, answer: Answer, with_usage: bool) -> list[dict[str, Any]]:
        """Return what comes behind the text."""
        found = [self.chunk('', reason(answer))]
        if with_usage:
            found.append({**self._shared, 'choices': [], 'usage': usage(answer)})
        return found

    def whole(self, parts: Sequence[tuple[str, Answer, dict[str, Any] | None]]) -> dict[str, Any]:
        """Return answers to several prompts: their texts, and log-probabilities of tokens."""
        counts = [usage(answer) for _, answer, _ in parts]
        total = {name: sum(count[name] for count in counts)
                 for name in ('prompt_tokens', 'completion_tokens', 'total_tokens')}
        return {**self._shared, 'usage': total, 'choices': [
            _choice(n, text, logprobs, reason(answer))
            for n, (text, answer, logprobs) in enumerate(parts)]}


def logprobs_of(tokens: Sequence[dict[str, Any]], most: int) -> dict[str, Any]:
    """
    Return the log-probabilities of the tokens of a text.

    :param tokens: as :meth:`Backend.score` gives them.
    :param most: how many of the likeliest are named for each.
    """
    offsets, at = [], 0
    for token in tokens:
        offsets.append(at)
        at += len(token['text'])
    best = [None if t['best'] is None else {t['best'][1]: t['best'][2]} for t in tokens]
    return {'tokens': [t['text'] for t in tokens],
            'token_logprobs': [t['logprob'] for t in tokens],
            'top_logprobs': best if most else None, 'text_offset': offsets}


def usage(answer: Answer) -> dict[str, Any]:
    """Return what an answer has cost."""
    found = answer.usage
    prompt = found.prompt_tokens + found.cached_tokens
    return {'prompt_tokens': prompt, 'completion_tokens': found.generated_tokens,
            'total_tokens': prompt + found.generated_tokens,
            'prompt_tokens_details': {'cached_tokens': found.cached_tokens}}


def reason(answer: Answer) -> str:
    """Return why an answer ended."""
    return _REASONS.get(answer.finish_reason, answer.finish_reason)


def event(found: dict[str, Any] | str) -> bytes:
    """Return an event of a stream."""
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return f'data: {text}\n\n'.encode('utf-8', 'replace')


def _choice(index: int, text: str, logprobs: dict[str, Any] | None, finish_reason: str | None
            ) -> dict[str, Any]:
    return {'index': index, 'text': text, 'logprobs': logprobs, 'finish_reason': finish_reason}


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [{'id': f'call_{uuid.uuid4().hex[:24]}', 'type': 'function',
             'function': {'name': call.name, 'arguments': call.arguments}} for call in calls]
