# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read the calls of tools that a model wrote."""
from __future__ import annotations

import ast
from collections.abc import Sequence
import json
import sys
from typing import Any
import warnings

from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolCall

MAX_CALLS_LENGTH = 1 << 16    # characters of calls; a model that writes more is stuck in a loop
_ARGUMENTS = ('arguments', 'parameters', 'input')  # what models call them in JSON
_WORDS = {'true': True, 'false': False, 'null': None}


def parse_tool_calls(text: str, tools: Sequence[Tool] = ()) -> list[ToolCall]:
    """
    Return the calls in what a model wrote between the tokens of a call.

    That is a list of Python calls, ``[go(place="dock"), look()]``, or JSON, ``{"name": "go",
    "arguments": {"place": "dock"}}`` or a list of such, also with OpenAI's ``function`` around
    each. Nothing is evaluated.

    :param tools: whose order of parameters gives names to arguments without one.
    :raises ValueError: when it is neither.
    """
    text = text.strip()
    if len(text) > MAX_CALLS_LENGTH:
        raise ValueError('it is too long')
    try:
        found = _loads(text)
    except ValueError:
        pass
    else:
        calls = found.get('tool_calls', found) if isinstance(found, dict) else found
        if calls == []:
            raise ValueError('it calls nothing')
        return [_json_call(call) for call in (calls if isinstance(calls, list) else [calls])]
    try:
        with warnings.catch_warnings():  # of an odd backslash, which is the model's own affair
            warnings.simplefilter('ignore')
            body = ast.parse(text, mode='eval').body
        calls = body.elts if isinstance(body, (ast.List, ast.Tuple)) else [body]
        orders = {tool.name: list(tool.schema['properties']) for tool in tools}
        return [_python_call(call, orders) for call in calls]
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


def write_tool_calls(calls: Sequence[ToolCall], as_list: bool) -> str:
    """
    Return calls as a model writes them, for :func:`parse_tool_calls`.

    :param as_list: as a list in Python where that is possible; else each in JSON, on its own line.
    """
    if as_list:
        python = ', '.join(f'{call.name}({_keywords(call)})' for call in calls)
        try:
            if parse_tool_calls(f'[{python}]') == list(calls):
                return f'[{python}]'
        except ValueError:  # a name that is none in Python, say
            pass
    found = [json.dumps({'name': call.name, 'arguments': json.loads(call.arguments)},
                        ensure_ascii=False) for call in calls]
    return f'[{", ".join(found)}]' if as_list else '\n'.join(found)


def _keywords(call: ToolCall) -> str:
    return ', '.join(f'{name}={_literal(value)}'
                     for name, value in json.loads(call.arguments).items())


def _literal(value: Any) -> str:
    """Return a value of JSON as Python writes it, with the quotes of JSON."""
    if isinstance(value, list):
        return f'[{", ".join(map(_literal, value))}]'
    if isinstance(value, dict):
        return '{' + ', '.join(f'{_literal(k)}: {_literal(v)}' for k, v in value.items()) + '}'
    if isinstance(value, (bool, type(None))):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def _json_call(call: Any) -> ToolCall:
    if isinstance(call, dict) and isinstance(call.get('function'), dict):
        call = call['function']
    if not isinstance(call, dict):
        raise ValueError('it is no call')
    name = call.get('name', call.get('function'))
    if not isinstance(name, str):
        raise ValueError('a call has no name')
    arguments = next((call[key] for key in _ARGUMENTS if key in call), None)
    if isinstance(arguments, str):  # JSON in JSON, as in OpenAI's interface
        arguments = _loads(arguments) if arguments.strip() else None
    return ToolCall(name, _dump({} if arguments is None else arguments))


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


def _loads(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_float)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no number')
