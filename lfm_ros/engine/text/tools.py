# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tools that a model may call: their descriptions, calls and results."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
import re
from typing import Any

from lfm_ros.engine.text.json_format import MAX_NESTING
from lfm_ros.engine.text.json_format import too_deep
from lfm_ros.engine.text.json_schema import is_foreign
from lfm_ros.engine.text.json_schema import resolved
from lfm_ros.engine.text.json_schema import without_nulls
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError

AUTO = 'auto'          # the model decides whether it calls
NONE = 'none'          # it calls nothing
REQUIRED = 'required'  # it calls at least one

MAX_TOOLS = 64
MAX_TOOL_LENGTH = 1 << 14     # characters of its description and parameters together
# What other interfaces allow in names, too: most servers of MCP have a hyphen in some.
_NAME = re.compile(r'[A-Za-z0-9_.$@:/-]+')
_MAX_NAME_LENGTH = 128
# Where other interfaces have the parameters, and what else they say of a tool.
_SCHEMAS = ('parameters', 'inputSchema', 'input_schema')  # OpenAI, MCP, Anthropic
_LISTS = ('tools', 'functions')
_IGNORED = ('type', 'strict', 'title', 'annotations', 'outputSchema', 'icons', '_meta',
            'execution', 'cache_control', 'input_examples', 'defer_loading')
_KINDS = (None, 'function', 'custom')


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
        """Return the schema of its arguments, without what is null; the outermost is no $ref."""
        given = without_nulls(self._given())
        found = resolved(given, given)
        if found is not given:
            found = {**{key: given[key] for key in given if key != '$ref'}, **found}
        return {'type': 'object', 'properties': {}, **found}

    def check(self) -> None:
        """
        Refuse what is no tool.

        :raises LfmError: INVALID_TOOL.
        """
        if not _NAME.fullmatch(self.name) or len(self.name) > _MAX_NAME_LENGTH:
            raise tool_error(f'{self.name[:_MAX_NAME_LENGTH]!r} is not a tool name: use up to '
                             f'{_MAX_NAME_LENGTH} letters, digits and _ - . $ @ : /')
        for text in (self.description, self.parameters):
            check_text(text, f'tool {self.name}')
        # White space that others put into JSON does not count, as far as it is no attack.
        if len(self.description) + len(self.parameters) > 2 * MAX_TOOL_LENGTH:
            raise self._too_long()
        schema = self._checked_schema()
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
        for name in (*properties, *required):
            if not _NAME.fullmatch(name):
                raise tool_error(f'{name[:_MAX_NAME_LENGTH]!r} is not a parameter name in the '
                                 f'tool {self.name}: use letters, digits and _ - . $ @ : /')

    def _given(self) -> Any:
        given = _loads(self.parameters)
        return {} if given is None else given

    def _checked_schema(self) -> dict[str, Any]:
        """Return the schema; refuse what is none, or says nothing of the arguments."""
        try:
            given = self._given()
            deep = too_deep(given)
            schema = {} if deep else self.schema
        except (ValueError, TypeError, RecursionError) as error:
            raise tool_error(f'parameters of the tool {self.name} are not a JSON schema '
                             f'({error}): send an object such as '
                             '{"type": "object", "properties": {}}') from error
        if deep:
            raise tool_error(f'parameters of the tool {self.name} nest more than {MAX_NESTING} '
                             'levels deep: flatten them, with $defs and $ref for instance')
        if is_foreign(without_nulls(given)):
            raise tool_error(f'parameters of the tool {self.name} have no keyword of JSON Schema, '
                             f'but {few(given)}: put the names of parameters under "properties"')
        return schema

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
    Return the tools in a JSON text, also as the interfaces of OpenAI, Anthropic and MCP have them.

    :raises LfmError: INVALID_TOOL.
    """
    try:
        found = _loads(text)
    except (ValueError, RecursionError) as error:
        raise tool_error(f'the list of tools is not JSON ({error}): send [{{"name": ..., '
                         '"description": ..., "parameters": {...}}]') from error
    if isinstance(found, dict) and not any(key in found for key in _LISTS):
        found = [found]
    if isinstance(found, dict):
        _check_keys(found, 'the list of tools', (*_LISTS, 'nextCursor', '_meta'))
        lists = [found[key] for key in _LISTS if found.get(key) is not None]
        found = [entry for entries in lists for entry in entries] if lists and all(
            isinstance(entries, list) for entries in lists) else found
    if not isinstance(found, (list, type(None))):
        raise tool_error('the list of tools is no list: send [{"name": ..., "description": ..., '
                         '"parameters": {...}}]')
    tools = [_read(entry) for entry in found or []]
    check_tools(tools)
    return tools


def _read(entry: Any) -> Tool:
    """Return a tool as one of the interfaces has it."""
    outer = entry
    if isinstance(entry, dict) and isinstance(entry.get('function'), dict):
        entry = entry['function']
        _check_keys(outer, f'the tool {entry.get("name")}', ('function', *_IGNORED))
    if not isinstance(entry, dict) or not isinstance(entry.get('name'), str):
        raise tool_error('a tool has no name: send [{"name": ..., "description": ..., '
                         '"parameters": {...}}]')
    name, about = entry['name'], entry.get('description')
    what = f'the tool {name[:_MAX_NAME_LENGTH]}'
    _check_keys(entry, what, ('name', 'description', *_SCHEMAS, *_IGNORED))
    kind = outer.get('type')
    if kind not in _KINDS:
        raise tool_error(f'{what} has the type {kind!r}: send functions only')
    if not isinstance(about, (str, type(None))):
        raise tool_error(f'the description of {what} is no text: send a text, or leave it out')
    schemas = [entry[key] for key in _SCHEMAS if entry.get(key) is not None]
    if len(schemas) > 1:
        raise tool_error(f'{what} has its parameters twice: send one of {", ".join(_SCHEMAS)}')
    schema = schemas[0] if schemas else ''
    return Tool(name, about or '', schema if isinstance(schema, str) else
                json.dumps(schema, ensure_ascii=False))


def _check_keys(entry: dict[str, Any], what: str, known: Sequence[str]) -> None:
    """Refuse what would be left out without a word."""
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise tool_error(f'{what} has {few(map(repr, unknown))}, which is not known: leave it '
                         'out, or call it name, description or parameters')


def _loads(text: str) -> Any:
    """Return what is in a JSON text; None for an empty one."""
    text = text.removeprefix('\ufeff').strip()
    return json.loads(text) if text else None


def tool_error(reason: str) -> LfmError:
    """Return the error of tools that cannot be used."""
    return LfmError(ErrorCode.INVALID_TOOL, reason)


def _compact(schema: dict[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(',', ':'))
