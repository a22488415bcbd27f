# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JSON schemas that are deep or go round in circles, as JSON texts, each of any size."""
from __future__ import annotations

from collections.abc import Callable
import json
import random
from typing import Any

Kind = Callable[[random.Random, int], str]


def dump(value: Any) -> str:
    """Return JSON without blanks: as much as possible in the characters that are allowed."""
    return json.dumps(value, ensure_ascii=False, separators=(',', ':'))


def chain(size: int, link: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schema in whose ``$defs`` each refers to the next."""
    defs = {str(i): link({'$ref': f'#/$defs/{i + 1}'}) for i in range(size)}
    return {'$ref': '#/$defs/0', '$defs': {**defs, str(size): {'type': 'null'}}}


def _chain(size: int, link: Callable[[Any], Any]) -> str:
    return dump(chain(size, link))


def _nest(size: int, before: str, after: str, middle: str = '{}') -> str:
    return before * size + middle + after * size


def _ref_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: ref)


def _items_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'items': ref})


def _properties_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'type': 'object', 'properties': {'a': ref},
                                     'required': ['a'], 'additionalProperties': False})


def _all_of_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'allOf': [ref]})


def _all_of_two_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'allOf': [ref, {'type': ['null', 'string']}]})


def _any_of_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'anyOf': [ref, {'type': 'string'}]})


def _any_of_same_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'anyOf': [ref, ref]})


def _one_of_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'oneOf': [ref, {'type': 'string'}]})


def _additional_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'type': 'object', 'additionalProperties': ref})


def _pattern_properties_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'type': 'object', 'patternProperties': {'^a': ref}})


def _prefix_items_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: {'type': 'array', 'prefixItems': [ref, ref]})


def _mixed_chain(chance: random.Random, size: int) -> str:
    return _chain(size, lambda ref: chance.choice([
        ref, {'allOf': [ref]}, {'anyOf': [ref, {'type': 'array', 'items': ref}]},
        {'type': 'array', 'items': ref}, {'type': 'object', 'properties': {'é': ref}}]))


def _items_nested(chance: random.Random, size: int) -> str:
    return _nest(size, '{"items":', '}')


def _properties_nested(chance: random.Random, size: int) -> str:
    return _nest(size, '{"type": "object", "properties": {"a": ', '}}')


def _combined_nested(chance: random.Random, size: int) -> str:
    name = chance.choice(['allOf', 'anyOf', 'oneOf'])
    return _nest(size, f'{{"{name}":[', ']}')


def _not_nested(chance: random.Random, size: int) -> str:
    return _nest(size, '{"not":', '}')


def _const_nested(chance: random.Random, size: int) -> str:
    return '{"const": ' + _nest(size, '[', ']', '') + '}'


def _circle(chance: random.Random, size: int) -> str:
    link = chance.choice([
        lambda r: r, lambda r: {'allOf': [r]}, lambda r: {'anyOf': [r, {'type': 'null'}]},
        lambda r: {'type': 'array', 'items': r}, lambda r: {'allOf': [r, r]},
        lambda r: {'type': 'object', 'properties': {'a': r}, 'required': ['a']}])
    defs = {str(i): link({'$ref': f'#/$defs/{(i + 1) % size}'}) for i in range(size)}
    return dump({'$ref': '#/$defs/0', '$defs': defs})


def _self_reference(chance: random.Random, size: int) -> str:
    inner: Any = {'$ref': '#'}
    for _ in range(size % 60):
        inner = chance.choice([{'anyOf': [inner, {'type': 'null'}]}, {'items': inner},
                               {'allOf': [inner]}, {'properties': {'a': inner}}])
    return dump({'type': ['object', 'array', 'null'], 'properties': {'a': inner},
                 'items': inner})


def _web(chance: random.Random, size: int) -> str:
    count = max(2, min(size, 60))
    name = chance.choice(['anyOf', 'allOf', 'oneOf', 'properties'])
    refs = {f'd{i}': {'$ref': f'#/$defs/d{i}'} for i in range(count)}
    body = refs if name == 'properties' else list(refs.values())
    return dump({'$ref': '#/$defs/d0', '$defs': {
        key: {name: body, 'type': ['object', 'null']} for key in refs}})


def _two_trees(chance: random.Random, size: int) -> str:
    tree = {'type': 'object', 'properties': {
        'a': {'$ref': '#/$defs/x'}, 'b': {'$ref': '#/$defs/y'}, 'c': {'$ref': '#/$defs/z'}}}
    names = ['x', 'y', 'z'][:1 + size % 3]
    return dump({'allOf': [{'$ref': f'#/$defs/{n}'} for n in names], '$defs': {
        n: {**tree, 'allOf': [{'$ref': '#/$defs/x'}, {'$ref': '#/$defs/y'}]} for n in 'xyz'}})


DEEP_SCHEMAS: dict[str, Kind] = {
    'schema_' + f.__name__[1:]: f for f in (
        _ref_chain, _items_chain, _properties_chain, _all_of_chain, _all_of_two_chain,
        _any_of_chain, _any_of_same_chain, _one_of_chain, _additional_chain,
        _pattern_properties_chain, _prefix_items_chain, _mixed_chain, _items_nested,
        _properties_nested, _combined_nested, _not_nested, _const_nested, _circle,
        _self_reference, _web, _two_trees)}
