# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JSON schemas that hurt, as JSON texts, each of any size."""
from __future__ import annotations

import random
from typing import Any

from hostile_depths import DEEP_SCHEMAS
from hostile_depths import dump
from hostile_depths import Kind

HUGE = 10 ** 9
_FORMATS = ['date-time', 'time', 'date', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uuid',
            'uri', 'idn-email', 'regex', 'json-pointer', 'nonsense', '', 'é']
_PATTERNS = ['(a{100}){100}', '^(a+)+$', '.{0,100000}', '(a|b)*a(a|b){20}', '\\p{L}{1,500}', '^$',
             '(?=a)', '(', '[^"]*"', '\\\\', '^.*x.*y.*z$', '(a?){50}a{50}', '\\d+', 'é|日']
_NUMBERS = [0, 1, -1, 0.1, 1e-300, 1e300, -1e300, 1e308, 5e-324, 1 << 63, 1 << 64, -(1 << 63),
            10 ** 30, 10 ** 400, 3, 7, 0.07, 1e-9, 123456789.123456789]
_KEYS = ['if', 'then', 'else', 'not', 'propertyNames', 'contains', 'dependentRequired',
         'unevaluatedProperties', '$dynamicRef', '$anchor', '$id', '$schema', 'uniqueItems',
         'minProperties', 'maxProperties', 'contentEncoding', 'const', 'enum', 'title', 'type']
_REFERENCES = ['#', '#/$defs/no', 'http://localhost/x', 'file:///etc/passwd', '', '#/', 5, None,
               '#/%25', '#/$defs/0/items', '../x', '#anchor', 'urn:x']


def _product(chance: random.Random, size: int) -> str:
    return dump({'allOf': [
        {'anyOf': [{'type': 'object', 'properties': {f'p{i}_{j}': {'type': 'null'}}}
                   for j in range(4)]} for i in range(size)]})


def _product_of_texts(chance: random.Random, size: int) -> str:
    return dump({'allOf': [{'anyOf': [
        {'type': 'string', 'pattern': f'{chr(97 + j)}{i}'} for j in range(3)]}
        for i in range(size)]})


def _patterns_together(chance: random.Random, size: int) -> str:
    return dump({'allOf': [{'type': 'string', 'pattern': str(i)} for i in range(size)]})


def _pattern_bomb(chance: random.Random, size: int) -> str:
    pattern = chance.choice([*_PATTERNS, f'(a{{{size}}}){{{size}}}', f'.{{{size}}}', 'a?' * size])
    return dump({'type': 'string', 'pattern': pattern, 'minLength': size % 5})


def _pattern_properties(chance: random.Random, size: int) -> str:
    return dump({'type': 'object', 'patternProperties': {
        chance.choice(['^k{}', '{}$', '.*{}.*x', '(a|b){{{}}}c']).format(i): {'type': 'integer'}
        for i in range(size)}})


def _formats(chance: random.Random, size: int) -> str:
    return dump({'type': 'array', 'prefixItems': [
        {'type': 'string', 'format': chance.choice(_FORMATS),
         'minLength': chance.choice([0, size])}
        for _ in range(min(size, 400))]})


def _enum(chance: random.Random, size: int) -> str:
    return dump({'enum': [chance.choice([f'é{i}', i, i / 7, [i], {'a': i}, 'x"\n' + str(i)])
                          for i in range(size)]})


def _enums_together(chance: random.Random, size: int) -> str:
    return dump({'allOf': [{'enum': [f'w{i}' for i in range(k % 7, size)]}
                           for k in range(8)]})


def _long_texts(chance: random.Random, size: int) -> str:
    low, high = sorted(chance.choice([0, size, size * 100, HUGE]) for _ in range(2))
    return dump({'type': 'string', 'minLength': low, 'maxLength': high})


def _long_lists(chance: random.Random, size: int) -> str:
    low, high = sorted(chance.choice([0, size, size * 100, HUGE]) for _ in range(2))
    return dump({'type': 'array', 'minItems': low, 'maxItems': high,
                 'items': chance.choice([{}, {'type': 'null'}, {'const': 'a'}]),
                 'uniqueItems': chance.random() < 0.5})


def _lists_of_lists(chance: random.Random, size: int) -> str:
    inner: Any = {'type': 'boolean'}
    for _ in range(1 + size % 8):
        inner = {'type': 'array', 'items': inner, 'minItems': 1000, 'maxItems': 1000}
    return dump(inner)


def _numbers(chance: random.Random, size: int) -> str:
    kind = {name: chance.choice(_NUMBERS) for name in chance.sample(
        ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'], 2)}
    return dump({'type': chance.choice(['integer', 'number']), **kind})


def _multiples(chance: random.Random, size: int) -> str:
    return dump({'allOf': [{'type': 'integer', 'multipleOf': chance.choice(
        [i + 2, (i + 2) / 100, 10 ** (i % 19) + 1])} for i in range(size)]})


def _large_multiple(chance: random.Random, size: int) -> str:
    return dump({'type': 'integer', 'multipleOf': size, 'minimum': 0})


def _long_number(chance: random.Random, size: int) -> str:
    digits = '1' * size
    return chance.choice([
        '{"type": "integer", "minimum": %s}', '{"type": "number", "maximum": 1%s.5}',
        '{"type": "number", "minimum": 0.%s}', '{"const": %s}', '{"enum": [1e%s]}',
        '{"type": "number", "multipleOf": 0.%s}']) % digits


def _many_properties(chance: random.Random, size: int) -> str:
    names = [f'p{i}' for i in range(size)]
    return dump({'type': 'object', 'properties': {n: {} for n in names},
                 'required': names[:chance.choice([0, size // 2, size])]})


def _many_typed_properties(chance: random.Random, size: int) -> str:
    return dump({'type': 'object', 'additionalProperties': chance.random() < 0.5,
                 'properties': {f'é{i}': {'type': 'string', 'maxLength': i}
                                for i in range(size)}})


def _required_missing(chance: random.Random, size: int) -> str:
    return dump({'type': 'object', 'required': [f'p{i}' for i in range(size)],
                 'additionalProperties': chance.choice([False, {'type': 'null'}])})


def _property_counts(chance: random.Random, size: int) -> str:
    return dump({'type': 'object', 'minProperties': size, 'maxProperties': chance.choice(
        [size, HUGE, 0]), 'additionalProperties': {'type': 'integer'}})


def _additional_tree(chance: random.Random, size: int) -> str:
    inner: Any = {'type': 'null'}
    for i in range(min(size, 40)):
        inner = {'type': 'object', 'additionalProperties': inner, 'properties': {f'p{i}': inner}
                 if i % 7 == 0 else {}}
    return dump(inner)


def _style(chance: random.Random, size: int) -> str:
    style = {'whitespace_flexible': chance.random() < 0.5, 'item_separator': chance.choice(
        [' *, *', '(a{1000}){1000}', '', '(', 'x' * size, '.*']), 'key_separator': chance.choice(
            [':', '(.|\\n)*', 'é']), 'whitespace_pattern': chance.choice(
                [None, ' *', '\\s+', '((a{1000}){1000}){1000}', '[']),
             'lenient': chance.random() < 0.5, 'coerce_one_of': chance.random() < 0.5}
    return dump({'x-guidance': chance.choice([style, {}, [], None, 'x']), 'type': 'object',
                 'properties': {'a': {'type': 'array', 'items': {'type': 'null'}}},
                 'oneOf': [{}, {}]})


def _large_const(chance: random.Random, size: int) -> str:
    return dump({'const': chance.choice([
        'é' * size, list(range(size // 4)), {f'k{i}': [i] for i in range(size // 8)},
        '"\\\n\0' * (size // 4), [[[]] * (size // 4)]])})


def _references(chance: random.Random, size: int) -> str:
    return dump({'anyOf': [{'$ref': chance.choice(_REFERENCES)} for _ in range(size)],
                 '$id': chance.choice(['', 'x', 'http://localhost/x', '#'])})


def _odd_keys(chance: random.Random, size: int) -> str:
    keys = chance.sample(_KEYS, min(len(_KEYS), 1 + size % 6))
    return dump({k: chance.choice([{}, [], True, None, -1, 'a', [{}], {'a': ['b']}])
                 for k in keys})


def _wide(chance: random.Random, size: int) -> str:
    name = chance.choice(['anyOf', 'oneOf', 'allOf'])
    return dump({name: [chance.choice([
        {'type': 'object', 'properties': {f'p{i}': {'const': i}}, 'required': [f'p{i}']},
        {'const': f'w{i}'}, {'type': 'integer', 'minimum': i},
        {'type': 'array', 'items': {'const': i}}]) for i in range(size)]})


def _same_start(chance: random.Random, size: int) -> str:
    return dump({'anyOf': [
        {'type': 'object', 'properties': {'a': {'type': 'string'}, f'b{i}': {'type': 'string'}},
         'required': ['a', f'b{i}'], 'additionalProperties': False} for i in range(size)]})


SCHEMAS: dict[str, Kind] = {**DEEP_SCHEMAS, **{
    'schema_' + f.__name__[1:]: f for f in (
        _product, _product_of_texts, _patterns_together, _pattern_bomb, _pattern_properties,
        _formats, _enum, _enums_together, _long_texts, _long_lists, _lists_of_lists, _numbers,
        _multiples, _large_multiple, _long_number, _many_properties, _many_typed_properties,
        _required_missing, _property_counts, _additional_tree, _style, _large_const, _references,
        _odd_keys, _wide, _same_start)}}
