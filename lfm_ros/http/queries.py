# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests as queries."""
from __future__ import annotations

import json
from typing import Any

from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.tools import AUTO
from lfm_ros.http.conversation import Question
from lfm_ros.http.errors import ApiError
from lfm_ros.http.requests import ChatRequest
from lfm_ros.http.requests import CompletionRequest
from lfm_ros.http.requests import Generation
from lfm_ros.http.requests import NamedTool
from lfm_ros.serving.query import Query

_SAMPLING = ('temperature', 'top_p', 'top_k', 'min_p', 'repetition_penalty', 'seed')


def chat_query(request: ChatRequest, mission_id: str, question: Question,
               max_tokens: int) -> Query:
    """
    Return the query of a request to a chat.

    :param max_tokens: where the request names none.
    """
    choice = request.tool_choice
    return Query(
        question.text, mission_id, images=question.images, results=question.results,
        max_tokens=request.max_completion_tokens or request.max_tokens or max_tokens,
        tool_choice=choice.function.name if isinstance(choice, NamedTool) else choice or AUTO,
        response_format=_format(request), **_shared(request))


def text_query(request: CompletionRequest, prompt: str) -> Query:
    """Return the query of a request for a completion."""
    return Query(prompt, raw=True, suffix=request.suffix or '', max_tokens=request.max_tokens or 1,
                 **_shared(request))


def _shared(request: Generation) -> dict[str, Any]:
    given = {name: getattr(request, name) for name in _SAMPLING}
    if given['top_k'] == -1:  # as others say that it is off
        given['top_k'] = 0
    if given['seed'] is not None:
        given['seed'] %= 1 << 63
    stop = request.stop or ()
    return {'sampling': {name: value for name, value in given.items() if value is not None},
            'stop': (stop,) if isinstance(stop, str) else tuple(stop),
            'timeout': request.timeout or 0.0}


def _format(request: ChatRequest) -> ResponseFormat:
    wanted = request.response_format
    if wanted is None or wanted.type == 'text':
        return ResponseFormat()
    if wanted.type == 'json_object':
        return ResponseFormat(json_schema=json.dumps({'type': 'object'}))
    if wanted.json_schema is None:
        raise ApiError(400, 'response_format is json_schema without a schema: send '
                       '{"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}',
                       'response_format')
    return ResponseFormat(json_schema=json.dumps(wanted.json_schema.schema_))
