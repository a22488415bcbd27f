# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lists of tools that hurt, each of any size."""
from __future__ import annotations

from collections.abc import Callable
import json
import random
from typing import Any

from hostile_depths import chain
from hostile_depths import dump
from hostile_schemas import SCHEMAS

Tools = list[tuple[str, str]]  # names and parameters
Kind = Callable[[random.Random, int], Tools]

_NAMES = ['go', 'look_around', 'a.b.c', '_', '__x__', 'from.x', 'import_it', 'A' * 64, 'True',
          'x9', 'lambda', 'start', 'object', 'json', 'block', 'free', 'o0', 'c0', 'None']
_BAD_NAMES = ['', 'é', 'a b', '9x', 'a.', '"', 'a\nb', 'A' * 65, 'a-b', '"] | "x']
_ARGUMENTS = ['x', 'place', 'from', 'if', 'self', '_', 'name', 'arguments', 'a' * 300]
_VALUES = ['a', '"', '\\', '\n', '\r\u2028', 'é日😀', '', "'", '")\nstart: "x"', '%json {}', '\0',
           'x' * 500, 1, -1, 0.1, 1e300, 10 ** 40, True, None, float('inf'), float('nan')]
_ODD_REQUIRED = [['no'], ['no', 'x'], 'x', 5, None, [1, None, {}], {}, [['x']], {'x': 1}]


def _of(properties: dict[str, Any], **more: Any) -> str:
    return dump({'type': 'object', 'properties': properties, **more})


def _many_tools(chance: random.Random, size: int) -> Tools:
    count = min(size, 66)
    return [(f't{i}', _of({f'p{j}': {'type': chance.choice(['integer', 'string', 'boolean'])}
                           for j in range(chance.randrange(5))})) for i in range(count)]


def _many_arguments(chance: random.Random, size: int) -> Tools:
    names = [f'p{i}' for i in range(size)]
    return [('go', _of({n: chance.choice([{}, {'type': 'null'}, True]) for n in names},
                       required=names[:chance.choice([0, 1, size])]))]


def _deep_arguments(chance: random.Random, size: int) -> Tools:
    return [('go', '{"properties": {"x": ' + '{"items": ' * size + '{}' + '}' * size + '}}')]


def _defs_chain(chance: random.Random, size: int) -> Tools:
    link = chance.choice([lambda r: {'items': r}, lambda r: {'allOf': [r]},
                          lambda r: r, lambda r: {'anyOf': [r, {'type': 'null'}]}])
    found = chain(size, link)
    return [('go', _of({'x': {'$ref': found['$ref']}}, **{'$defs': found['$defs']}))]


def _copied_defs(chance: random.Random, size: int) -> Tools:
    """Return tools whose ``$defs`` every one of many arguments needs."""
    defs = {f'd{i}': {'enum': [f'{i}a', f'{i}b']} for i in range(size)}
    return [(f't{k}', _of({f'p{i}': {'$ref': '#/$defs/d0'} for i in range(min(size, 200))},
                          **{'$defs': defs})) for k in range(1 + size % 64)]


def _shared_defs(chance: random.Random, size: int) -> Tools:
    defs = {f'd{i}': {'enum': [f'{i}a', f'{i}b']} for i in range(min(size, 200))}
    where = chance.choice(['$defs', 'definitions'])
    return [(f't{i}', _of({'x': {'$ref': f'#/{where}/d{i % len(defs)}'},
                           'y': {'type': 'array', 'items': {'$ref': f'#/{where}/d0'}}},
                          **{where: defs})) for i in range(min(size, 64))]


def _odd_names(chance: random.Random, size: int) -> Tools:
    names = chance.sample(_NAMES, min(1 + size % 9, len(_NAMES)))
    if chance.random() < 0.3:
        names.append(chance.choice(_BAD_NAMES))
    return [(n, _of({chance.choice(_ARGUMENTS): {'type': 'integer'}})) for n in names]


def _odd_enums(chance: random.Random, size: int) -> Tools:
    return [('go', _of({'x': {'enum': [chance.choice(_VALUES) for _ in range(size)]},
                        'y': {'const': chance.choice(_VALUES)}}, required=['x']))]


def _large_enums(chance: random.Random, size: int) -> Tools:
    return [('go', _of({'x': {'enum': [f'é"{i}' for i in range(size)]}}, required=['x'])),
            ('stay', _of({'x': {'enum': list(range(size))}}))]


def _odd_required(chance: random.Random, size: int) -> Tools:
    return [('go', _of({'x': {'type': 'string'}}, required=chance.choice(_ODD_REQUIRED)))]


def _odd_parameters(chance: random.Random, size: int) -> Tools:
    return [('go', chance.choice([
        '', ' ', '[]', '5', '"x"', 'null', 'true', '{', '{"type": "array"}', '{"properties": []}',
        '{"properties": {"x": 5}}', '{"properties": {"x": null}}', '{"properties": {"x": false}}',
        '{"properties": {"x": "a"}}', '{"properties": {"x": {"enum": []}}}', '{"$ref": "#"}',
        '{"properties": {"x": {"enum": {}}}}', '{"properties": {"x": {"type": 5}}}',
        '{"$defs": 5}', '{"$defs": [1]}', '{"definitions": null}', '{"additionalProperties": 5}',
        '{"x-guidance": {"whitespace_pattern": "(a{1000}){1000}"}, "properties": {}}',
        '{"properties": {"x": {"x-guidance": 5}}}', '{"properties": {"x": {"const": NaN}}}',
        '{"properties": {"x": {"const": 1e999}}}', '{"properties": {"\\n": {}}}',
        '{"type": ["object"]}', '{"type": "object", "type": "array"}',
        '[' * 5000, '{"properties": {"x": ' * 400 + '{}' + '}}' * 400]))]


def _schemas_of_forms(chance: random.Random, size: int) -> Tools:
    """Return a tool whose argument has one of the schemas that hurt as forms."""
    schema = SCHEMAS[chance.choice(list(SCHEMAS))](chance, size)
    shared = '{"properties": {"x": ' + schema + '}, "required": ["x"]'
    try:
        found = json.loads(schema)
    except (ValueError, RecursionError):
        return [('go', shared + '}')]
    defs = found.pop('$defs', None) if isinstance(found, dict) else None
    return [('go', shared + (', "$defs": ' + dump(defs) if defs else '') + '}')]


def _long_descriptions(chance: random.Random, size: int) -> Tools:
    return [(f't{i}', _of({'x': {'type': 'string', 'description': 'é' * size}}))
            for i in range(1 + size % 5)]


TOOLS: dict[str, Kind] = {
    'tools_' + f.__name__[1:]: f for f in (
        _many_tools, _many_arguments, _deep_arguments, _defs_chain, _copied_defs, _shared_defs,
        _odd_names, _odd_enums, _large_enums, _odd_required, _odd_parameters, _schemas_of_forms,
        _long_descriptions)}
