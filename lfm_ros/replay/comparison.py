# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Compare an answer with the recorded one."""
from __future__ import annotations

from dataclasses import asdict
import json
from typing import Any

from lfm_ros.engine.grammar.matcher import GrammarMatcher
from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.text_check import to_text
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import Usage
from lfm_ros.serving.mission_store import MissionStore

EQUAL = 'equal'
DIFFERENT = 'different'
FAILED = 'failed'  # there is an error now, and there was none
NEW = 'new'  # there is no recorded answer to compare with

_USAGE = tuple(asdict(Usage()))


def recorded_fields(recorded: Any) -> dict[str, Any] | None:
    """Return a ``msg/Response`` as :func:`answer_fields` returns an answer."""
    if recorded is None:
        return None
    return {'text': recorded.text, 'finish_reason': recorded.finish_reason,
            'error_code': recorded.error_code, 'error_msg': recorded.error_msg,
            'tool_calls': [{'name': call.name, 'arguments': call.arguments}
                           for call in recorded.tool_calls],
            # An earlier version may know less.
            'usage': {name: getattr(recorded.usage, name, 0) for name in _USAGE}}


def answer_fields(answer: Answer) -> dict[str, Any]:
    """Return what is compared of an answer, and what it cost."""
    found = asdict(answer)
    # As the node sends them.
    calls = [{'name': call['name'], 'arguments': to_text(call['arguments'])}
             for call in found['tool_calls']]
    return {'text': to_text(answer.text), 'finish_reason': answer.finish_reason,
            'error_code': int(answer.error_code), 'error_msg': answer.error_msg,
            'tool_calls': calls, 'usage': found['usage']}


def compare(now: dict[str, Any], recorded: dict[str, Any] | None) -> dict[str, Any]:
    """
    Return the verdict, and what is the same.

    An answer that failed in the recording says nothing of the model, unless it fails again.
    """
    if recorded is None or recorded['error_code'] not in (0, now['error_code']):
        return {'verdict': NEW if not now['error_code'] else FAILED}
    if now['error_code']:
        return {'verdict': EQUAL if recorded['error_code'] else FAILED}
    same = {'same_text': now['text'] == recorded['text'],
            'same_tool_calls': _calls(now) == _calls(recorded)}
    return {'verdict': EQUAL if all(same.values()) else DIFFERENT, **same}


def has_form(store: MissionStore, wanted: ResponseFormat, text: str) -> bool:
    """
    Return whether an answer is complete and has a form.

    It belongs into the thread of the model.
    """
    if wanted.choices:
        return text in wanted.choices
    model = store.model
    grammar = store.structured_output.grammar(GrammarSource.of(wanted))
    while not model.grammars.advance(grammar):
        grammar.poll(0.1)
    ids = [*model.tokenizer.encode(text), min(model.end_ids)]
    matcher = GrammarMatcher.of(grammar)
    matcher.validate(ids)
    return matcher.valid == len(ids)


def _calls(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(call['name'], _parsed(call['arguments'])) for call in fields['tool_calls']]


def _parsed(text: str) -> Any:
    """Return JSON as values, in which the order of names does not count; else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
