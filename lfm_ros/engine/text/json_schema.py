# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JSON schemas as others write them: what is read as absent, and what grammars can be made of."""
from __future__ import annotations

from collections.abc import Callable
import logging
from typing import Any

_log = logging.getLogger(__name__)
# Where schemas stand in a schema: by name, one or a list of them.
_BY_NAME = ('properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas')
_NESTED = ('items', 'prefixItems', 'additionalItems', 'additionalProperties', 'anyOf', 'oneOf',
           'allOf', 'not', 'if', 'then', 'else', 'contains', 'propertyNames', 'unevaluatedItems',
           'unevaluatedProperties')
# The keywords that say something about a value.
_CONSTRAINTS = frozenset((
    *_BY_NAME, *_NESTED, 'type', 'enum', 'const', '$ref', '$dynamicRef', '$recursiveRef', 'format',
    'pattern', 'required', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum',
    'multipleOf', 'minLength', 'maxLength', 'minItems', 'maxItems', 'uniqueItems', 'minContains',
    'maxContains', 'minProperties', 'maxProperties', 'dependentRequired', 'dependencies',
    'contentEncoding', 'contentMediaType', 'contentSchema'))
_ANNOTATIONS = frozenset((
    '$schema', '$id', 'id', '$anchor', '$comment', '$vocabulary', 'title', 'description',
    'default', 'examples', 'example', 'deprecated', 'readOnly', 'writeOnly', 'nullable',
    'x-guidance'))
# What llguidance holds a text to; any other format is an annotation, as the draft has it.
_FORMATS = frozenset(('date-time', 'time', 'date', 'duration', 'email', 'hostname', 'ipv4',
                      'ipv6', 'uuid', 'uri', 'unknown'))
# Others that are in use; the name of any other may be a secret, and stays out of the log.
_OTHER_FORMATS = ('password', 'byte', 'binary', 'int32', 'int64', 'float', 'double', 'color',
                  'uri-reference', 'uri-template', 'iri', 'iri-reference', 'idn-email',
                  'idn-hostname', 'regex', 'json-pointer', 'relative-json-pointer')
_noted: set[str] = set()  # formats of which the log tells already
_VALUES = ('const', 'default', 'example')  # keywords for which null is a value
_MAX_REFERENCES = 10  # that lead from one to the next
_MAX_DEPTH = 4        # of properties by which schemas exclude each other


def walk(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """
    Return a schema in which every schema is replaced, the inner ones first.

    :param schema: no deeper than :data:`lfm_ros.engine.text.json_format.MAX_NESTING`.
    :param change: gives the replacement.
    """
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, dict):
            found[key] = {name: walk({} if each is None else each, change)
                          for name, each in value.items()}
        elif key in _NESTED:
            found[key] = [walk(each, change) for each in value] if isinstance(value, list) else \
                walk(value, change)
    return change(found)


def without_nulls(schema: Any) -> Any:
    """Return a schema without the keywords that are null, such as a nil slice of Go."""
    return walk(schema, lambda each: {key: value for key, value in each.items()
                                      if value is not None or key in _VALUES})


def is_foreign(schema: Any) -> bool:
    """Return whether an object has no keyword of JSON Schema, so that it would allow anything."""
    return isinstance(schema, dict) and not _CONSTRAINTS.intersection(schema) and \
        any(key not in _ANNOTATIONS and not key.startswith('x-') for key in schema)


def unwrapped(schema: Any) -> Any:
    """Return the schema in what OpenAI's interface has around it, ``{name, strict, schema}``."""
    for key in ('json_schema', 'schema'):
        if isinstance(schema, dict) and isinstance(schema.get(key), (dict, bool)) and \
                _CONSTRAINTS.intersection(schema) <= {'type'} and \
                schema.get('type') in (None, 'json_schema'):
            schema = schema[key]
    return schema


def for_grammar(schema: Any) -> Any:
    """
    Return a schema that allows the same and of which a grammar can be made.

    Unknown formats are annotations. ``oneOf`` becomes ``anyOf`` where its options exclude each
    other, references included.
    """
    root = schema = without_nulls(schema)

    def change(each: dict[str, Any]) -> dict[str, Any]:
        if isinstance(each.get('format'), str) and each['format'] not in _FORMATS:
            _note(each.pop('format'))
        if each.get('uniqueItems') is False:
            each.pop('uniqueItems')
        options = each.get('oneOf')
        if isinstance(options, list) and 'anyOf' not in each and all(
                _disjoint(one, other, root) for place, one in enumerate(options)
                for other in options[:place]):
            return {'anyOf' if key == 'oneOf' else key: value for key, value in each.items()}
        return each

    return walk(schema, change)


def resolved(schema: Any, root: Any) -> Any:
    """
    Return what a schema stands for that is a reference, or the schema itself.

    :raises ValueError: when the reference leads nowhere.
    """
    for _ in range(_MAX_REFERENCES):
        if not (isinstance(schema, dict) and isinstance(schema.get('$ref'), str)):
            return schema
        schema = _target(schema['$ref'], root)
    raise ValueError('a $ref leads in a circle')


def _note(name: str) -> None:
    """Say once that a format is not enforced."""
    name = name if name in _OTHER_FORMATS else 'of another name'
    if name not in _noted:
        _noted.add(name)
        _log.info('a schema has a format (%s) to which no answer is held: add a pattern if it '
                  'matters', name)


def _target(reference: str, root: Any) -> Any:
    """Return what a reference points to, such as ``#/$defs/Go``."""
    found = root
    for step in reference.removeprefix('#').split('/')[1:]:
        step = step.replace('~1', '/').replace('~0', '~')
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            raise ValueError(f'$ref {reference!r} leads nowhere')
    if not reference.startswith('#') or found is root and reference != '#':
        raise ValueError(f'$ref {reference!r} is not in the schema itself')
    return found


def _disjoint(one: Any, other: Any, root: Any, depth: int = _MAX_DEPTH) -> bool:
    """Return whether it is sure that no value matches both of two schemas."""
    try:
        one, other = resolved(one, root), resolved(other, root)
    except ValueError:
        return False
    if not (depth and isinstance(one, dict) and isinstance(other, dict)):
        return False
    kinds, others = _kinds(one), _kinds(other)
    if kinds and others and not kinds & others:
        return True
    values, other_values = _values(one), _values(other)
    if values is not None and other_values is not None:
        return not any(value in other_values for value in values)
    if kinds != {'object'} or others != {'object'}:
        return False
    needed, also_needed = _required(one), _required(other)
    return _forbids(one, also_needed) or _forbids(other, needed) or any(
        _disjoint(_properties(one).get(name), _properties(other).get(name), root, depth - 1)
        for name in needed & also_needed)


def _kinds(schema: dict[str, Any]) -> set[str]:
    """Return the types of values; an integer is a number, too."""
    kinds = schema.get('type')
    return {'number' if kind == 'integer' else str(kind)
            for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind}


def _values(schema: dict[str, Any]) -> list[Any] | None:
    values = [schema['const']] if 'const' in schema else schema.get('enum')
    return values if isinstance(values, list) else None


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get('properties')
    return found if isinstance(found, dict) else {}


def _required(schema: dict[str, Any]) -> set[str]:
    names = schema.get('required')
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _forbids(schema: dict[str, Any], names: set[str]) -> bool:
    """Return whether an object may not have all of these properties."""
    return schema.get('additionalProperties') is False and 'patternProperties' not in schema and \
        not names <= set(_properties(schema))
