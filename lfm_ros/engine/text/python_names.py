# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Names of tools and parameters for models that call in Python, where go-to is no name."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import replace
import json
import re
from typing import Any

from lfm_ros.engine.text.call_schema import TOGETHER
from lfm_ros.engine.text.json_schema import walk
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolCall

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
_DOTTED = re.compile(rf'{_NAME.pattern}(\.{_NAME.pattern})*')
_PROPERTIES = '#/properties/'


def in_python(tools: Sequence[Tool]) -> list[Tool]:
    """Return tools under names of Python, such as ``go_to``; most have no others."""
    names = _aliases((tool.name for tool in tools), _DOTTED)
    return [_renamed(tool, names[tool.name]) for tool in tools]


def called(call: ToolCall, tools: Sequence[Tool]) -> ToolCall:
    """Return a call that a model made under names of Python, under the tool's own."""
    for tool, told in zip(tools, in_python(tools)):
        if told is not tool and told.name == call.name:
            names = {alias: name for name, alias in _parameters(tool).items()}
            arguments = {names.get(key, key): value
                         for key, value in json.loads(call.arguments).items()}
            return ToolCall(tool.name, json.dumps(arguments, ensure_ascii=False))
    return call


def calling(call: ToolCall, tools: Sequence[Tool]) -> ToolCall:
    """Return a call under the names of Python under which a model makes it; see called()."""
    for tool, told in zip(tools, in_python(tools)):
        if told is not tool and tool.name == call.name:
            names = _parameters(tool)
            arguments = {names.get(key, key): value
                         for key, value in json.loads(call.arguments).items()}
            return ToolCall(told.name, json.dumps(arguments, ensure_ascii=False))
    return call


def _parameters(tool: Tool) -> dict[str, str]:
    schema = tool.schema
    if TOGETHER.intersection(schema):  # it is called in JSON, where any name is one
        return {name: name for name in (*schema['properties'], *schema.get('required', ()))}
    return _aliases((*schema['properties'], *schema.get('required', ())), _NAME)


def _aliases(names: Iterable[str], allowed: re.Pattern[str]) -> dict[str, str]:
    """Return the name of each in Python, no two the same."""
    found = {name: name for name in names}
    taken = {name for name in found if allowed.fullmatch(name)}
    for name in found:
        if name in taken:
            continue
        alias = re.sub(r'\W', '_', name, flags=re.ASCII)
        alias = number = f'_{alias}' if alias[0].isdecimal() else alias
        count = 1
        while number in taken:
            count += 1
            number = f'{alias}_{count}'
        found[name] = number
        taken.add(number)
    return found


def _renamed(tool: Tool, name: str) -> Tool:
    names = _parameters(tool)
    if name == tool.name and all(key == alias for key, alias in names.items()):
        return tool
    pointers = {_PROPERTIES + key.replace('~', '~0').replace('/', '~1'): _PROPERTIES + alias
                for key, alias in names.items()}

    def refer(schema: dict[str, Any]) -> dict[str, Any]:
        reference = schema.get('$ref')
        if isinstance(reference, str):
            start = '/'.join(reference.split('/')[:3])
            schema['$ref'] = pointers.get(start, start) + reference[len(start):]
        return schema

    schema = walk(tool.schema, refer)
    schema['properties'] = {names[key]: value for key, value in schema['properties'].items()}
    if 'required' in schema:
        schema['required'] = [names[key] for key in schema['required']]
    return replace(tool, name=name, parameters=json.dumps(schema, ensure_ascii=False))
