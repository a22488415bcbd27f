# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the calls of a tool must satisfy, as schemas of which grammars can be made."""
from __future__ import annotations

from dataclasses import dataclass
import json
from keyword import iskeyword
from typing import Any

from lfm_ros.engine.text.json_format import JSON_STYLE
from lfm_ros.engine.text.json_schema import for_grammar
from lfm_ros.engine.text.json_schema import walk
from lfm_ros.engine.text.tools import Tool

_SHARED = ('$defs', 'definitions')
_COMPOSED = ('allOf', 'anyOf', 'oneOf')
# With these of a tool's parameters together, not of each alone, Python calls are not made: their
# grammar is put together argument by argument.
TOGETHER = frozenset((*_COMPOSED, 'not', 'if', 'patternProperties', 'propertyNames',
                      'minProperties', 'maxProperties', 'dependentRequired', 'dependentSchemas',
                      'dependencies', 'const', 'enum'))
_WHOLE = 'arguments'  # name of the arguments among what is shared, where they refer to themselves


@dataclass(frozen=True)
class CallSchema:
    """
    The schema of a tool's calls.

    :param tool: under the name by which the model calls it.
    :param arguments: the schema of all its arguments.
    :param shared: the parts of it that others in it refer to.
    """

    tool: Tool
    arguments: dict[str, Any]
    shared: dict[str, Any]

    @classmethod
    def of(cls, tool: Tool) -> CallSchema:
        """Return the schema of a tool's calls."""
        schema = for_grammar(tool.schema)
        for name in schema.get('required', ()):
            schema['properties'].setdefault(name, {})
        shared = {key: schema[key] for key in _SHARED if isinstance(schema.get(key), dict)}
        whole, itself = _WHOLE, False
        while whole in shared.get('$defs', {}):
            whole += '_'

        def refer(each: dict[str, Any]) -> dict[str, Any]:
            nonlocal itself
            reference = each.get('$ref')
            if isinstance(reference, str) and reference[:1] == '#' and \
                    reference.split('/')[1:2] not in ([key] for key in _SHARED):
                each['$ref'], itself = f'#/$defs/{whole}{reference[1:]}', True
            return each

        changed = walk(schema, refer)
        if itself:
            schema = changed
            shared = {key: schema[key] for key in shared}
            shared['$defs'] = {**shared.get('$defs', {}), whole: {
                key: value for key, value in schema.items() if key not in _SHARED}}
        if not _brings_properties(schema):
            schema = {'additionalProperties': False, **schema}
        return cls(tool, {key: value for key, value in schema.items() if key not in shared},
                   shared)

    @property
    def in_json(self) -> str:
        """Return the schema of a call in JSON."""
        return _dump({**self.shared, 'x-guidance': JSON_STYLE, 'type': 'object',
                      'required': ['name', 'arguments'], 'additionalProperties': False,
                      'properties': {'name': {'const': self.tool.name},
                                     'arguments': self.arguments}})

    @property
    def length(self) -> int:
        """Return how many characters its schemas have in a grammar."""
        return len(_dump(self.arguments)) + len(_dump(self.shared)) * (
            1 + len(self.arguments['properties']))

    @property
    def is_python(self) -> bool:
        """Return whether Python can call it: no parameter is called ``from``, say."""
        schema, names = self.arguments, self.arguments['properties']
        return not (TOGETHER.intersection(schema)
                    or schema['additionalProperties'] is not False and not names
                    or any(map(iskeyword, [*self.tool.name.split('.'), *names])))

    def argument(self, name: str) -> str:
        """Return the schema of one argument."""
        kind = self.arguments['properties'][name]
        return _dump({**self.shared, 'x-guidance': JSON_STYLE, **kind}
                     if isinstance(kind, dict) else kind)


def _brings_properties(schema: dict[str, Any]) -> bool:
    """Return whether more than its own properties may be there."""
    options = [each for key in _COMPOSED if isinstance(schema.get(key), list)
               for each in schema[key] if isinstance(each, dict)]
    return 'additionalProperties' not in schema and any(
        {'properties', '$ref', *_COMPOSED}.intersection(each) for each in options)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
