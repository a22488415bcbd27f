# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random JSON schemas, and a judge of values that knows nothing of how they were made."""
from __future__ import annotations

import random
import re
from typing import Any

_WORDS = ['dock', 'door', 'speed', 'place', 'sure', 'x', 'y', 'name', 'é', 'a b']
_PATTERNS = ['^[a-z]{1,4}$', '^[0-9]{2}:[0-9]{2}$', '^(left|right)$']


def random_schema(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """Return a schema that some value satisfies."""
    kinds = ['integer', 'number', 'string', 'pattern', 'boolean', 'null', 'enum', 'const']
    if depth < 3:
        kinds += ['object', 'object', 'array', 'any', 'optional']
    kind = 'object' if depth == 0 and chance.random() < 0.7 else chance.choice(kinds)
    if kind == 'integer':
        low = chance.randint(-50, 50)
        return {'type': 'integer', 'minimum': low, 'maximum': low + chance.randint(0, 200)}
    if kind == 'number':
        return {'type': 'number', 'minimum': 0, 'maximum': chance.randint(1, 9)}
    if kind == 'string':
        low = chance.randint(0, 3)
        return {'type': 'string', 'minLength': low, 'maxLength': low + chance.randint(0, 8)}
    if kind == 'pattern':
        return {'type': 'string', 'pattern': chance.choice(_PATTERNS)}
    if kind == 'enum':
        return {'enum': chance.sample([*_WORDS, 1, 2.5, True, None], chance.randint(1, 4))}
    if kind == 'const':
        return {'const': chance.choice([*_WORDS, 7, False, {'a': [1, 'b']}])}
    if kind == 'object':
        names = chance.sample(_WORDS, chance.randint(0, 4))
        return {'type': 'object', 'additionalProperties': False,
                'properties': {name: random_schema(chance, depth + 1) for name in names},
                'required': [name for name in names if chance.random() < 0.7]}
    if kind == 'array':
        low = chance.randint(0, 2)
        return {'type': 'array', 'items': random_schema(chance, depth + 1), 'minItems': low,
                'maxItems': low + chance.randint(0, 2)}
    if kind == 'any':
        return {'anyOf': [random_schema(chance, depth + 1) for _ in range(2)]}
    if kind == 'optional':
        return {'type': ['string', 'null'], 'maxLength': 5}
    return {'type': kind}


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """Tell whether a value satisfies a schema of :func:`random_schema`."""
    if 'anyOf' in schema:
        return any(valid(value, each) for each in schema['anyOf'])
    if 'enum' in schema:
        return any(_same(value, each) for each in schema['enum'])
    if 'const' in schema:
        return _same(value, schema['const'])
    kinds = schema.get('type', [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(_is(value, kind) for kind in kinds):
        return False
    if isinstance(value, str):
        low, high = schema.get('minLength', 0), schema.get('maxLength', 1 << 30)
        return low <= len(value) <= high and bool(re.search(schema.get('pattern', ''), value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return schema.get('minimum', value) <= value <= schema.get('maximum', value)
    if isinstance(value, list):
        return schema['minItems'] <= len(value) <= schema['maxItems'] and \
            all(valid(each, schema['items']) for each in value)
    if isinstance(value, dict):
        known = schema['properties']
        return set(schema['required']) <= set(value) <= set(known) and \
            all(valid(each, known[name]) for name, each in value.items())
    return True


def _is(value: Any, kind: str) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {'integer': number and float(value).is_integer() if number else False,
            'number': number, 'string': isinstance(value, str), 'null': value is None,
            'boolean': isinstance(value, bool), 'array': isinstance(value, list),
            'object': isinstance(value, dict)}[kind]


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
