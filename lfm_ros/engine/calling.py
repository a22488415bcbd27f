# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a model calls functions: the tokens around its calls, and the grammar of good ones."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
from keyword import iskeyword
import re
from typing import Any

from lfm_ros.engine.grammar_worker import JSON_STYLE
from lfm_ros.engine.tokenizer import TextStream
from lfm_ros.engine.tokenizer import Tokenizer
from lfm_ros.engine.tools import NONE
from lfm_ros.engine.tools import parse_calls
from lfm_ros.engine.tools import refusal
from lfm_ros.engine.tools import REQUIRED
from lfm_ros.engine.tools import Tool
from lfm_ros.engine.tools import ToolCall

MAX_GRAMMAR = 1 << 20  # characters that the schemas of all tools make in a grammar
# Beginning and end of calls, and whether they stand in a list, by the tokens of a tokenizer.
_DIALECTS = (('<|tool_call_start|>', '<|tool_call_end|>', True),
             ('<tool_call>', '</tool_call>', False))


@dataclass(frozen=True)
class CallDialect:
    """
    The way in which a model calls.

    :param begin: id before calls, ``end`` after them.
    :param listed: whether all calls stand in one list between them (LFM2), of Python or JSON
        calls; else each call stands alone between them, as JSON (Qwen).
    :param spoken: other control tokens that may stand in a text, such as ``<think>``.
    """

    begin: int
    end: int
    begin_text: str
    end_text: str
    listed: bool
    spoken: tuple[int, ...] = ()

    @classmethod
    def find(cls, tokenizer: Tokenizer) -> CallDialect | None:
        """Return the dialect that a tokenizer has tokens for, if any."""
        for begin_text, end_text, listed in _DIALECTS:
            begin, end = tokenizer.id_of(begin_text), tokenizer.id_of(end_text)
            if begin is not None and end is not None:
                spoken = tuple(sorted(tokenizer.spoken_ids - {begin, end}))
                return cls(begin, end, begin_text, end_text, listed, spoken)
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

        :param choice: auto, none, required, or the name of the only tool that is to be called.
        :raises LfmError: INVALID_TOOL, when it would be too long.
        """
        free = '/(.|\\n)*/'
        if self.spoken:
            free = f'({free} | ' + ' | '.join(f'<[{i}]>' for i in self.spoken) + ')*'
        if choice == NONE:
            return f'start: {free}'
        named = [tool for tool in tools if tool.name == choice]
        _check_length(named or tools)
        must = bool(named) or choice == REQUIRED
        rules = [] if must else [f'free: {free}']
        numbers = range(len(named or tools))
        rules += ['object: ' + ' | '.join(f'o{n}' for n in numbers)]
        rules += [f'o{n}: %json {_json(_call_schema(t))}' for n, t in enumerate(named or tools)]
        if self.listed:
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


class CallReader:
    """
    Tells the text of an answer from its calls while its tokens come.

    Calls that cannot be read are text.

    :param stream: decodes the tokens.
    :param dialect: None: there are no calls.
    :ivar calls: the calls so far; ``written`` the places in the text where they stood, as what the
        model wrote.
    """

    def __init__(self, stream: TextStream, dialect: CallDialect | None,
                 tools: Sequence[Tool] = ()) -> None:
        self.calls: list[ToolCall] = []
        self.written: list[tuple[int, str]] = []
        self._stream = stream
        self._dialect = dialect
        self._tools = tools
        self._inside: str | None = None
        self._length = 0  # of the text given out

    def push(self, token_id: int) -> str:
        """Take one id and return the text that became certain."""
        if self._dialect and token_id == self._dialect.begin and self._inside is None:
            text = self._stream.flush()
            self._inside = ''
            return self._give(text)
        if self._dialect and token_id == self._dialect.end and self._inside is not None:
            return self._close(self._inside + self._stream.flush())
        text = self._stream.push(token_id)
        if self._inside is None:
            return self._give(text)
        self._inside += text
        return ''

    def flush(self) -> str:
        """Return what is left; a call that is not whole is text."""
        text = self._stream.flush()
        if self._inside is not None and self._dialect:
            text, self._inside = self._dialect.begin_text + self._inside + text, None
        return self._give(text)

    def record(self, text: str) -> str:
        """Return an answer with its calls in it, as the model wrote them."""
        for place, written in reversed(self.written):
            text = text[:place] + written + text[place:]
        return text

    def _close(self, written: str) -> str:
        assert self._dialect
        self._inside = None
        whole = self._dialect.begin_text + written + self._dialect.end_text
        try:
            self.calls += parse_calls(written, self._tools)
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
        raise refusal(f'the tools make a grammar of {length} characters, since each argument '
                      f'repeats the $defs of its tool: send tools that make {MAX_GRAMMAR} at '
                      'most, with fewer arguments or shorter $defs')


def _is_python(tool: Tool) -> bool:
    """Tell whether Python can call it: no parameter is called ``from``, say."""
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
