# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages from the values of their fields, each of which is converted or refused."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from lfm_ros import msg
from lfm_ros.client.fields import refused
from lfm_ros.client.fields import to_bytes
from lfm_ros.client.fields import to_flag
from lfm_ros.client.fields import to_float
from lfm_ros.client.fields import to_integer
from lfm_ros.client.fields import to_json
from lfm_ros.client.fields import to_text
from lfm_ros.client.images import is_image
from lfm_ros.client.images import to_image
from lfm_ros.client.toolbox import describe
from lfm_ros.client.toolbox import Toolbox
from lfm_ros.engine.text.tools import from_json
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.errors import printable
from rosidl_parser.definition import AbstractSequence
from rosidl_parser.definition import AbstractString
from rosidl_parser.definition import NamespacedType
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

_FLOATS = {'float': False, 'double': True}
_IMAGES = {'images': Image, 'compressed_images': CompressedImage}  # in their order
_PIXELS = (Image, CompressedImage)
_PATHS = ('file',)
_JSON = ('json_schema', 'parameters', 'content', 'arguments')
_TOOLS = 'functions, dicts with name, description and parameters, or messages Tool'


def to_message(kind: Any, fields: Mapping[Any, Any], where: str = '',
               more: Sequence[str] = ()) -> Any:
    """
    Return a message with these fields; the others have their defaults.

    :param kind: class of the message.
    :param where: the field that it is; empty: it is sent itself.
    :param more: what else could have been meant by the name of a field.
    :raises TypeError, ValueError: for what a field cannot hold.
    """
    types = dict(zip(kind.get_fields_and_field_types(), kind.SLOT_TYPES))
    message, before = kind(), f'{where}.' if where else ''
    for name in fields:
        if name not in types:
            raise _unknown(kind, name, where, more)
    for name, value in fields.items():
        if name not in _IMAGES:
            setattr(message, name, _value(types[name], name, value, f'{before}{name}'))
    if types.keys() >= _IMAGES.keys():
        _add_images(message, fields, before)
    return message


def _unknown(kind: Any, name: Any, where: str, more: Sequence[str]) -> TypeError:
    """Return the error of a field that is not there."""
    fields = kind.get_fields_and_field_types()
    known = {field: repr(field) for field in (*fields, *more)}
    for field, slot in zip(fields, kind.SLOT_TYPES):
        if isinstance(slot, NamespacedType) and field != 'header':
            for inner in _class(slot).get_fields_and_field_types():
                known.setdefault(inner, f"{field}={{'{inner}': ...}}")
    near = get_close_matches(str(name), known, 1)
    advice = f'did you mean {known[near[0]]}?' if near else f'it has {few(fields, 20)}'
    given = printable(repr(name), 60)
    return TypeError(f'{where or kind.__name__} has no field {given}: {advice}')


def _value(slot: Any, name: str, value: Any, where: str) -> Any:
    """Return a value as the field of a message holds it."""
    if isinstance(slot, AbstractSequence):
        return _sequence(slot.value_type, name, value, where)
    if isinstance(slot, NamespacedType):
        return _nested(_class(slot), value, where)
    if isinstance(slot, AbstractString):
        return to_text(value, where, name in _PATHS, name in _JSON)
    if slot.typename == 'boolean':
        return to_flag(value, where)
    if slot.typename in _FLOATS:
        return to_float(value, where, _FLOATS[slot.typename])
    is_signed, bits = not slot.typename.startswith('u'), int(slot.typename.split('int')[1])
    if bits == 8 and isinstance(value, bool):  # a flag, as cv_bridge sets Image.is_bigendian
        return int(value)
    return to_integer(value, where, -(1 << bits - 1) if is_signed else 0,
                      (1 << bits - is_signed) - 1)


def _sequence(slot: Any, name: str, value: Any, where: str) -> Any:
    """Return the values of a list; what is one of them is a list of one."""
    if getattr(slot, 'typename', '') == 'uint8':
        return to_bytes(value, where)
    kind = _class(slot) if isinstance(slot, NamespacedType) else None
    if kind is msg.Tool:
        return _tools(value, where)
    return [_value(slot, name, one, place) for one, place in _each(value, where, kind)]


def _each(value: Any, where: str, kind: Any,
          is_one: Callable[[Any], bool] = lambda value: False) -> Iterable[tuple[Any, str]]:
    """Yield what a list has, with its place."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or is_one(value) or \
            kind and isinstance(value, kind):
        return [(value, where)]
    try:
        found = list(value)
    except TypeError:  # a number, None, an array without dimensions
        return [(value, where)]
    return [(one, f'{where}[{number}]') for number, one in enumerate(found)]


def _nested(kind: Any, value: Any, where: str) -> Any:
    """Return a message in a message; one that is there already may have any values, too."""
    if hasattr(value, 'to_msg'):  # a time of rclpy
        value = value.to_msg()
    if isinstance(value, kind):
        value = {name: getattr(value, name) for name in kind.get_fields_and_field_types()}
    if not isinstance(value, Mapping):
        names = few(kind.get_fields_and_field_types(), 20)
        raise refused(where, f'a dict with some of {names}, or a message {kind.__name__}', value)
    return to_message(kind, value, where)


def _tools(value: Any, where: str) -> list[msg.Tool]:
    """Return tools that are messages, functions, or dicts of whatever interface."""
    if isinstance(value, Toolbox):
        value = value.messages
    found = []
    for tool, place in _each(value, where, msg.Tool, callable):
        found += [_nested(msg.Tool, one, place) for one in _described(tool, place)]
    return found


def _described(tool: Any, where: str) -> list[msg.Tool]:
    if isinstance(tool, msg.Tool):
        return [tool]
    given = to_json(tool, where) if isinstance(tool, Mapping) else ''
    try:
        if callable(tool):
            return [describe(tool)]
        if given:
            return [msg.Tool(**vars(one)) for one in from_json(given)]
    except (LfmError, TypeError) as error:
        kind = ValueError if isinstance(error, LfmError) else TypeError
        raise kind(f'{where}: {error}') from error
    raise refused(where, _TOOLS, tool)


def _add_images(message: Any, fields: Mapping[str, Any], where: str) -> None:
    """
    Put images where ROS has them: raw ones in one list, and encoded ones behind them in another.

    :raises ValueError: when that would change their order.
    """
    for name, kind in _IMAGES.items():
        for value, place in _each(fields.get(name, ()), f'{where}{name}', _PIXELS, is_image):
            if isinstance(value, Mapping):
                found = _nested(kind, value, place)
            elif isinstance(value, _PIXELS):
                found = _nested(type(value), value, place)
            else:
                found = to_image(value, place, kind is CompressedImage)
            if isinstance(found, CompressedImage):
                message.compressed_images.append(found)
            elif message.compressed_images:
                raise ValueError(f'{place} has pixels and comes behind a JPEG or PNG, but ROS '
                                 'sends pixels first: put it before all files')
            else:
                message.images.append(found)


def _class(slot: NamespacedType) -> Any:
    return getattr(import_module('.'.join(slot.namespaces)), slot.name)
