# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a model calls tools: the tokens around its calls, and the grammar of well-formed ones."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
import re
from typing import Any

from lfm_ros.engine.text.call_schema import CallSchema
from lfm_ros.engine.text.python_names import called
from lfm_ros.engine.text.python_names import calling
from lfm_ros.engine.text.python_names import in_python
from lfm_ros.engine.text.tokenizer import TextStream
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.engine.text.tool_calls import parse_tool_calls
from lfm_ros.engine.text.tool_calls import write_tool_calls
from lfm_ros.engine.text.tools import NONE
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

    def told(self, tools: Sequence[Tool]) -> list[Tool]:
        """Return tools as the model is told of them: where it calls in Python, named so."""
        return in_python(tools) if self.list_syntax else list(tools)

    def parse(self, text: str, tools: Sequence[Tool]) -> list[ToolCall]:
        """
        Return the calls in what a model wrote between the tokens of a call.

        :raises ValueError: when there is none.
        """
        calls = parse_tool_calls(text, self.told(tools))
        return [called(call, tools) for call in calls] if self.list_syntax else calls

    def write(self, calls: Sequence[ToolCall], tools: Sequence[Tool]) -> str:
        """Return calls as the model writes them, with the texts of the tokens around them."""
        if self.list_syntax:
            blocks = [write_tool_calls([calling(call, tools) for call in calls], True)]
        else:
            blocks = [f'\n{write_tool_calls([call], False)}\n' for call in calls]
        return '\n'.join(f'{self.begin_text}{block}{self.end_text}' for block in blocks)

    def schemas(self, tools: Sequence[Tool], choice: str) -> dict[str, CallSchema]:
        """
        Return the schemas of the calls that may be made, by the names of the tools.

        :param choice: see :meth:`grammar`.
        :raises LfmError: INVALID_TOOL, when their grammar would be too long.
        """
        if choice == NONE:
            return {}
        found = {tool.name: CallSchema.of(told) for tool, told in zip(tools, self.told(tools))
                 if choice not in (other.name for other in tools) or choice == tool.name}
        _check_length(list(found.values()))
        return found

    def grammar(self, tools: Sequence[Tool], choice: str,
                schemas: dict[str, CallSchema] | None = None) -> str:
        """
        Return the Lark grammar of an answer whose calls are well formed.

        :param choice: auto, none, required, or the name of the only tool that must be called.
        :param schemas: what :meth:`schemas` gives, where that was asked already.
        :raises LfmError: INVALID_TOOL, when it would be too long.
        """
        free = '/(.|\\n)*/'
        if self.text_control_ids:
            free = f'({free} | ' + ' | '.join(f'<[{i}]>' for i in self.text_control_ids) + ')*'
        calls = list((self.schemas(tools, choice) if schemas is None else schemas).values())
        if not calls:
            return f'start: {free}'
        named = any(tool.name == choice for tool in tools)
        must = named or choice == REQUIRED
        rules = [] if must else [f'free: {free}']
        rules += ['object: ' + ' | '.join(f'o{n}' for n in range(len(calls)))]
        rules += [f'o{n}: %json {call.in_json}' for n, call in enumerate(calls)]
        if self.list_syntax:
            start = 'block' if must else 'free (block free)?'
            more = '' if named else ' (", " {})*'
            rules += [f'json: object{more.format("object")}']
            python = [n for n, call in enumerate(calls) if call.is_python]
            either = 'python | json' if python else 'json'
            rules += [f'block: <[{self.begin}]> "[" ({either}) "]" <[{self.end}]>']
            if python:
                rules += [f'python: call{more.format("call")}',
                          'call: ' + ' | '.join(f'c{n}' for n in python)]
            for n in python:
                rules += _python_rules(f'c{n}', calls[n])
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
            self.tool_calls += self._tool_format.parse(written, self._tools)
        except ValueError:
            return self._give(whole)
        self.written.append((self._length, whole))
        return ''

    def _give(self, text: str) -> str:
        self._length += len(text)
        return text


def _check_length(calls: Sequence[CallSchema]) -> None:
    """Refuse tools whose shared parts, which every argument repeats, would fill the memory."""
    length = sum(call.length for call in calls)
    if length > MAX_GRAMMAR:
        raise tool_error(f'the tools make a grammar of {length} characters, since each argument '
                         f'repeats the $defs of its tool: send tools that make {MAX_GRAMMAR} at '
                         'most, with fewer arguments or shorter $defs')


def _python_rules(name: str, call: CallSchema) -> list[str]:
    """Return rules for calls of a tool: its arguments in order, optional ones may be missing."""
    required = call.arguments.get('required', [])
    rules = [f'{name}: "{call.tool.name}(" {name}_a0 ")"']
    arguments = list(call.arguments['properties'])
    for place, argument in enumerate(arguments):
        value = f'{name}_v{place}'
        rules.append(f'{value}: {_value_rule(call, argument)}')
        given = f'"{argument}=" {value} {name}_b{place + 1}'
        later = f'", {argument}=" {value} {name}_b{place + 1}'
        # _a: nothing was given before, _b: something was, so a comma comes first
        skip = argument not in required
        rules.append(f'{name}_a{place}: {given}' + (f' | {name}_a{place + 1}' if skip else ''))
        rules.append(f'{name}_b{place}: {later}' + (f' | {name}_b{place + 1}' if skip else ''))
    last = len(arguments)
    return [*rules, f'{name}_a{last}: ""', f'{name}_b{last}: ""']


def _value_rule(call: CallSchema, argument: str) -> str:
    """Return what an argument may be: a Python literal, or JSON where it is nested."""
    kind = call.arguments['properties'][argument]
    if isinstance(kind, dict):
        values = kind.get('enum', [kind['const']] if 'const' in kind else None)
        if isinstance(values, list) and values and \
                all(isinstance(v, (str, int, float, bool, type(None))) for v in values):
            return ' | '.join(_json(_json(v) if isinstance(v, str) else repr(v)) for v in values)
        if kind.get('type') == 'boolean':
            return '"True" | "False"'
        if kind.get('type') == 'null':
            return '"None"'
    return '%json ' + call.argument(argument)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
