# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a model calls tools: the tokens around its calls, and the grammar of well-formed ones."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
from keyword import iskeyword
import re
from typing import Any

from lfm_ros.engine.text.json_format import JSON_STYLE
from lfm_ros.engine.text.tokenizer import TextStream
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.engine.text.tools import NONE
from lfm_ros.engine.text.tools import parse_tool_calls
from lfm_ros.engine.text.tools import REQUIRED
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import tool_error
from lfm_ros.engine.text.tools import ToolCall

MAX_GRAMMAR = 1 << 20  # characters that the schemas of all tools make in a grammar
# Beginning and end of calls, and whether they stand in a list, by the tokens of a tokenizer.
_FORMATS = (('<|tool_call_start|>', '<|tool_call_end|>', True),
            ('<tool_call>', '</tool_call>', False))


@dataclass(frozen=True)
class ToolCallFormat:
    """
    The way in which a model calls.

    :param begin: id before calls, ``end`` after them.
    :param list_syntax: whether all calls stand in one list between them (LFM2), of Python or JSON
        calls; else each call stands alone between them, as JSON (Qwen).
    :param text_control_ids: other control tokens that may stand in a text, such as ``<think>``.
    """

    begin: int
    end: int
    begin_text: str
    end_text: str
    list_syntax: bool
    text_control_ids: tuple[int, ...] = ()

    @classmethod
    def find(cls, tokenizer: Tokenizer) -> ToolCallFormat | None:
        """Return the format that a tokenizer has tokens for, if any."""
        for begin_text, end_text, list_syntax in _FORMATS:
            begin, end = tokenizer.id_of(begin_text), tokenizer.id_of(end_text)
            if begin is not None and end is not None:
                text_control_ids = tuple(sorted(tokenizer.text_control_ids - {begin, end}))
                return cls(begin, end, begin_text, end_text, list_syntax, text_control_ids)
        return None

    @property
    def texts(self) -> tuple[str, str]:
        """Return the texts of the tokens around calls."""
        return self.begin_text, self.end_text

    def split(self, text: str) -> list[str]:
        """Return a text in parts, of which the texts of these tokens are some."""
        return re.split('(' + '|'.join(map(re.escape, self.texts)) + ')', text)

    def grammar(self, tools: Sequence[Tool], choice: str) -> str:
        """
        Return the Lark grammar of an answer whose calls are well formed.

        :param choice: auto, none, required, or the name of the only tool that must be called.
        :raises LfmError: INVALID_TOOL, when it would be too long.
        """
        free = '/(.|\\n)*/'
        if self.text_control_ids:
            free = f'({free} | ' + ' | '.join(f'<[{i}]>' for i in self.text_control_ids) + ')*'
        if choice == NONE:
            return f'start: {free}'
        named = [tool for tool in tools if tool.name == choice]
        _check_length(named or tools)
        must = bool(named) or choice == REQUIRED
        rules = [] if must else [f'free: {free}']
        numbers = range(len(named or tools))
        rules += ['object: ' + ' | '.join(f'o{n}' for n in numbers)]
        rules += [f'o{n}: %json {_json(_call_schema(t))}' for n, t in enumerate(named or tools)]
        if self.list_syntax:
            start = 'block' if must else 'free (block free)?'
            more = '' if named else ' (", " {})*'
            rules += [f'json: object{more.format("object")}']
            python = [n for n, tool in enumerate(named or tools) if _is_python(tool)]
            either = 'python | json' if python else 'json'
            rules += [f'block: <[{self.begin}]> "[" ({either}) "]" <[{self.end}]>']
            if python:
                rules += [f'python: call{more.format("call")}',
                          'call: ' + ' | '.join(f'c{n}' for n in python)]
            for n in python:
                rules += _python_rules(f'c{n}', (named or tools)[n])
        else:
            rules += [f'block: <[{self.begin}]> "\\n" object "\\n" <[{self.end}]>']
            start = ('block' if named else 'block ("\\n" block)*') if must else \
                'free (block ("\\n" block)*)?'
        return '\n'.join([f'start: {start}', *rules])


class ToolCallParser:
    """
    Separates the text of an answer from its tool calls while its tokens come.

    Calls that cannot be read are text.

    :param stream: decodes the tokens.
    :param tool_format: None: there are no calls.
    :ivar tool_calls: the calls so far; ``written`` the places in the text where they stood, with
        what the model wrote there.
    """

    def __init__(self, stream: TextStream, tool_format: ToolCallFormat | None,
                 tools: Sequence[Tool] = ()) -> None:
        self.tool_calls: list[ToolCall] = []
        self.written: list[tuple[int, str]] = []
        self._stream = stream
        self._tool_format = tool_format
        self._tools = tools
        self._inside: str | None = None
        self._length = 0  # of the text given out

    def push(self, token_id: int) -> str:
        """Take one id and return the text that became certain."""
        if self._tool_format and token_id == self._tool_format.begin and self._inside is None:
            text = self._stream.flush()
            self._inside = ''
            return self._give(text)
        if self._tool_format and token_id == self._tool_format.end and self._inside is not None:
            return self._close(self._inside + self._stream.flush())
        text = self._stream.push(token_id)
        if self._inside is None:
            return self._give(text)
        self._inside += text
        return ''

    def flush(self) -> str:
        """Return the rest of the text; an incomplete call is text."""
        text = self._stream.flush()
        if self._inside is not None and self._tool_format:
            text, self._inside = self._tool_format.begin_text + self._inside + text, None
        return self._give(text)

    def record(self, text: str) -> str:
        """Return an answer with its calls in it, as the model wrote them."""
        for place, written in reversed(self.written):
            text = text[:place] + written + text[place:]
        return text

    def _close(self, written: str) -> str:
        assert self._tool_format
        self._inside = None
        whole = self._tool_format.begin_text + written + self._tool_format.end_text
        try:
            self.tool_calls += parse_tool_calls(written, self._tools)
        except ValueError:
            return self._give(whole)
        self.written.append((self._length, whole))
        return ''

    def _give(self, text: str) -> str:
        self._length += len(text)
        return text


def _check_length(tools: Sequence[Tool]) -> None:
    """Refuse tools whose shared parts, which every argument repeats, would fill the memory."""
    length = 0
    for tool in tools:
        schema = tool.schema
        shared = len(_json(_shared(tool)))
        length += len(tool.parameters) + shared * (1 + len(schema['properties']))
    if length > MAX_GRAMMAR:
        raise tool_error(f'the tools make a grammar of {length} characters, since each argument '
                         f'repeats the $defs of its tool: send tools that make {MAX_GRAMMAR} at '
                         'most, with fewer arguments or shorter $defs')


def _is_python(tool: Tool) -> bool:
    """Return whether Python can call it: no parameter is called ``from``, say."""
    return not any(map(iskeyword, [*tool.name.split('.'), *tool.schema['properties']]))


def _python_rules(name: str, tool: Tool) -> list[str]:
    """Return rules for calls of a tool: its arguments in order, optional ones may be missing."""
    schema, shared = tool.schema, _shared(tool)
    required = schema.get('required', [])
    rules = [f'{name}: "{tool.name}(" {name}_a0 ")"']
    items = list(schema['properties'].items())
    for place, (argument, kind) in enumerate(items):
        value = f'{name}_v{place}'
        rules.append(f'{value}: {_value_rule(kind, shared)}')
        given = f'"{argument}=" {value} {name}_b{place + 1}'
        later = f'", {argument}=" {value} {name}_b{place + 1}'
        # _a: nothing was given before, _b: something was, so a comma comes first
        skip = argument not in required
        rules.append(f'{name}_a{place}: {given}' + (f' | {name}_a{place + 1}' if skip else ''))
        rules.append(f'{name}_b{place}: {later}' + (f' | {name}_b{place + 1}' if skip else ''))
    rules += [f'{name}_a{len(items)}: ""', f'{name}_b{len(items)}: ""']
    return rules


def _value_rule(kind: Any, shared: dict[str, Any]) -> str:
    """Return what an argument may be: a Python literal, or JSON where it is nested."""
    if isinstance(kind, dict):
        values = kind.get('enum', [kind['const']] if 'const' in kind else None)
        if isinstance(values, list) and values and \
                all(isinstance(v, (str, int, float, bool, type(None))) for v in values):
            return ' | '.join(_json(_json(v) if isinstance(v, str) else repr(v)) for v in values)
        if kind.get('type') == 'boolean':
            return '"True" | "False"'
        if kind.get('type') == 'null':
            return '"None"'
        kind = {**shared, **kind}
    return '%json ' + _json({'x-guidance': JSON_STYLE, **kind} if isinstance(kind, dict) else kind)


def _call_schema(tool: Tool) -> dict[str, Any]:
    return {**_shared(tool), 'x-guidance': JSON_STYLE, 'type': 'object',
            'required': ['name', 'arguments'], 'additionalProperties': False,
            'properties': {'name': {'const': tool.name},
                           'arguments': {'additionalProperties': False, **tool.schema}}}


def _shared(tool: Tool) -> dict[str, Any]:
    """Return the parts of a tool's schema that others in it refer to."""
    return {key: tool.schema[key] for key in ('$defs', 'definitions') if key in tool.schema}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
