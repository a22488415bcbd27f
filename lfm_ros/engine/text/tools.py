# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tools that a model may call: their descriptions, calls and results."""
from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
import json
import re
import sys
from typing import Any
import warnings

from lfm_ros.engine.text.json_format import MAX_NESTING
from lfm_ros.engine.text.json_format import too_deep
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

AUTO = 'auto'          # the model decides whether it calls
NONE = 'none'          # it calls nothing
REQUIRED = 'required'  # it calls at least one

MAX_TOOLS = 64
MAX_TOOL_LENGTH = 1 << 14     # characters of its description and parameters together
MAX_CALLS_LENGTH = 1 << 16    # characters of calls; a model that writes more is stuck in a loop
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*')
_MAX_NAME_LENGTH = 64
_WORDS = {'true': True, 'false': False, 'null': None}


@dataclass(frozen=True)
class Tool:
    """
    A function that a model may call.

    :param parameters: JSON schema of its arguments, as JSON; empty: it has none.
    """

    name: str
    description: str = ''
    parameters: str = ''

    @property
    def schema(self) -> dict[str, Any]:
        """Return the schema of its arguments."""
        found = json.loads(self.parameters) if self.parameters.strip() else {}
        return {'type': 'object', 'properties': {}, **found}

    def check(self) -> None:
        """
        Refuse what is no tool.

        :raises LfmError: INVALID_TOOL.
        """
        if not _NAME.fullmatch(self.name) or len(self.name) > _MAX_NAME_LENGTH:
            raise tool_error(f'{self.name[:_MAX_NAME_LENGTH]!r} is not a tool name: use up to '
                             f'{_MAX_NAME_LENGTH} letters, digits and underscores')
        for text in (self.description, self.parameters):
            check_text(text, f'tool {self.name}')
        # White space that others put into JSON does not count, as far as it is no attack.
        if len(self.description) + len(self.parameters) > 2 * MAX_TOOL_LENGTH:
            raise self._too_long()
        try:
            schema = self.schema
        except (ValueError, TypeError, RecursionError) as error:
            raise tool_error(f'parameters of the tool {self.name} are not a JSON schema '
                             f'({error}): send an object such as '
                             '{"type": "object", "properties": {}}') from error
        if too_deep(schema):
            raise tool_error(f'parameters of the tool {self.name} nest more than {MAX_NESTING} '
                             'levels deep: flatten them, with $defs and $ref for instance')
        if len(self.description) + len(_compact(schema)) > MAX_TOOL_LENGTH:
            raise self._too_long()
        properties = schema['properties']
        if schema['type'] != 'object' or not isinstance(properties, dict):
            raise tool_error(f'parameters of the tool {self.name} are not those of an object: set '
                             '"type": "object" and "properties" to an object')
        required = schema.get('required', [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise tool_error(f'"required" in the parameters of the tool {self.name} is not a list '
                             'of names: send one such as ["place"], or leave it out')
        for name in properties:
            if not _NAME.fullmatch(name) or '.' in name:
                raise tool_error(f'{name[:_MAX_NAME_LENGTH]!r} is not a parameter name in the '
                                 f'tool {self.name}: use letters, digits and underscores')

    def _too_long(self) -> LfmError:
        return tool_error(f'the tool {self.name} is described in more than {MAX_TOOL_LENGTH} '
                          'characters: shorten it')


@dataclass(frozen=True)
class ToolCall:
    """
    A call of a tool by the model.

    :param arguments: a JSON object.
    """

    name: str
    arguments: str


@dataclass(frozen=True)
class ToolResult:
    """
    What a tool returned.

    :param name: of the tool; the model reads results in the order of its calls.
    """

    name: str
    content: str


def check_tools(tools: Sequence[Tool]) -> None:
    """
    Refuse a list of tools that cannot be used.

    :raises LfmError: INVALID_TOOL.
    """
    if len(tools) > MAX_TOOLS:
        raise tool_error(f'there are {len(tools)} tools: send {MAX_TOOLS} at most')
    for tool in tools:
        tool.check()
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise tool_error('two tools have the same name: give each its own')


def to_json(tools: Sequence[Tool]) -> str:
    """Return tools as one JSON text, always the same for the same tools; empty for none."""
    if not tools:
        return ''
    return json.dumps([{'name': t.name, 'description': t.description, 'parameters': t.schema}
                       for t in tools], ensure_ascii=False)


def from_json(text: str) -> list[Tool]:
    """
    Return the tools in a JSON text, also as OpenAI's interface has them.

    :raises LfmError: INVALID_TOOL.
    """
    try:
        tools = []
        for entry in json.loads(text) if text else []:
            entry = entry.get('function', entry)
            tools.append(Tool(str(entry['name']), str(entry.get('description', '')),
                              json.dumps(entry.get('parameters', {}), ensure_ascii=False)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise tool_error(f'the list of tools cannot be read ({type(error).__name__}: {error}): '
                         'send [{"name": ..., "description": ..., '
                         '"parameters": {...}}]') from error
    check_tools(tools)
    return tools


def parse_tool_calls(text: str, tools: Sequence[Tool] = ()) -> list[ToolCall]:
    """
    Return the calls in what a model wrote between the tokens of a call.

    That is a list of Python calls, ``[go(place="dock"), look()]``, or JSON, ``{"name": "go",
    "arguments": {"place": "dock"}}`` or a list of such. Nothing is evaluated.

    :param tools: whose order of parameters gives names to arguments without one.
    :raises ValueError: when it is neither.
    """
    text = text.strip()
    if len(text) > MAX_CALLS_LENGTH:
        raise ValueError('it is too long')
    try:
        found = json.loads(text, parse_constant=_refuse_constant, parse_float=_float)
    except (ValueError, RecursionError):
        pass
    else:
        if found == []:
            raise ValueError('it calls nothing')
        return [_json_call(call) for call in (found if isinstance(found, list) else [found])]
    try:
        with warnings.catch_warnings():  # of an odd backslash, which is the model's own affair
            warnings.simplefilter('ignore')
            body = ast.parse(text, mode='eval').body
        calls = body.elts if isinstance(body, (ast.List, ast.Tuple)) else [body]
        orders = {tool.name: list(tool.schema['properties']) for tool in tools}
        return [_python_call(call, orders) for call in calls]
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


def tool_error(reason: str) -> LfmError:
    """Return the error of tools that cannot be used."""
    return LfmError(ErrorCode.INVALID_TOOL, reason)


def _compact(schema: dict[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(',', ':'))


def _json_call(call: Any) -> ToolCall:
    if not isinstance(call, dict) or not isinstance(call.get('name'), str):
        raise ValueError('a call has no name')
    arguments = call.get('arguments', call.get('parameters', {}))
    if isinstance(arguments, str):  # JSON in JSON, as in OpenAI's interface
        arguments = json.loads(arguments)
    return ToolCall(call['name'], _dump(arguments))


def _python_call(call: ast.AST, orders: dict[str, list[str]]) -> ToolCall:
    if not isinstance(call, ast.Call):
        raise ValueError('it is no call')
    name = _dotted(call.func)
    order = orders.get(name, [])
    if len(call.args) > len(order):
        raise ValueError(f'{name} has arguments without a name')
    arguments = {key: _value(argument) for key, argument in zip(order, call.args)}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise ValueError(f'{name} has an argument twice or without a name')
        arguments[keyword.arg] = _value(keyword.value)
    return ToolCall(name, _dump(arguments))


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f'{_dotted(node.value)}.{node.attr}'
    if isinstance(node, ast.Name):
        return node.id
    raise ValueError('it calls something without a name')


def _value(node: ast.AST) -> Any:
    """Return the value of a literal."""
    if isinstance(node, ast.Constant) and isinstance(
            node.value, (str, int, float, bool, type(None))):
        if isinstance(node.value, str):  # JSON writes characters outside the BMP as two
            return node.value.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
        return _float(node.value) if isinstance(node.value, float) else node.value
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _value(node.operand)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Dict) and all(
            isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys):
        return {key.value: _value(value)  # type: ignore[union-attr]
                for key, value in zip(node.keys, node.values)}
    raise ValueError('an argument is no plain value')


def _float(number: str | float) -> float:
    """Return a number that JSON can hold: 1e999 becomes the largest float."""
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


def _dump(arguments: Any) -> str:
    if not isinstance(arguments, dict):
        raise ValueError('arguments are no object')
    return json.dumps(arguments, ensure_ascii=False, allow_nan=False)


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no number')
