# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Values as a field of a message can hold them.

ROS takes a value of any type, and where it is of the wrong one the process ends when the message
is sent. So all is converted here where nothing is lost, and refused else.
"""
from __future__ import annotations

from array import array
from collections.abc import Mapping
import json
import math
import operator
import os
import re
from typing import Any

from lfm_ros.errors import printable
import numpy as np

_MAX_SHOWN = 60  # characters of a value in a sentence
_MAX_FLOAT32 = float(np.finfo(np.float32).max)
# ROS ends text at a NUL, and cannot carry what no UTF-8 can.
_NO_TEXT = re.compile('[\0\ud800-\udfff]')


def refused(where: str, takes: str, value: Any, advice: str = '') -> TypeError:
    """
    Return the error of a value of the wrong type.

    :param where: the field.
    :param takes: what it takes.
    :param advice: what to do.
    """
    if value is None:
        advice = 'leave it out, or give one'
    return TypeError(f'{where} takes {takes}, not {shown(value)}' + (advice and f': {advice}'))


def shown(value: Any) -> str:
    """Return a value for a sentence: short, or its type alone."""
    kind = type(value)
    if value is None:
        return 'None'
    if kind in (bool, int, float, str, bytes):
        is_long = kind is int and value.bit_length() > 200  # Python refuses to write some
        text = 'a huge number' if is_long else printable(repr(value), _MAX_SHOWN)
        return f'{text} ({kind.__name__})'
    module = '' if kind.__module__ == 'builtins' else f'{kind.__module__}.'
    return f'an object of the type {module}{kind.__qualname__}'


def to_flag(value: Any, where: str) -> bool:
    """Return yes or no; 0 and 1 are what YAML, C and command lines have for them."""
    plain = _plain(value)
    if isinstance(plain, int) and plain in (0, 1):
        return bool(plain)
    raise refused(where, 'True or False', value)


def to_integer(value: Any, where: str, low: int, high: int) -> int:
    """Return a whole number within limits; a float that is one is taken."""
    plain, takes = _plain(value), f'a whole number from {low} to {high}'
    if isinstance(plain, bool):
        raise refused(where, takes, value)
    if isinstance(plain, float):
        if not plain.is_integer():
            raise ValueError(f'{where} takes {takes}, not {plain}')
        plain = int(plain)
    try:
        plain = operator.index(plain)
    except TypeError:
        raise refused(where, takes, value) from None
    if not low <= plain <= high:
        raise ValueError(f'{where} takes {takes}, not {shown(plain)}')
    return plain


def to_float(value: Any, where: str, is_double: bool = True) -> float:
    """Return a finite number; an integer that a float can hold is taken."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise refused(where, 'a number', value)
    try:
        found = float(plain)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found) or not is_double and abs(found) > _MAX_FLOAT32:
        raise ValueError(f'{where} takes a finite number, not {shown(plain)}, which a '
                         f'{"double" if is_double else "float of 32 bits"} cannot hold')
    if found != plain:
        raise ValueError(f'{where} takes a number that a float can hold exactly, not '
                         f'{shown(plain)}')
    return found


def to_text(value: Any, where: str, is_path: bool = False, is_json: bool = False) -> str:
    """
    Return text that ROS can carry.

    :param is_path: a path is taken.
    :param is_json: what JSON can hold is taken, and written as that.
    """
    if is_path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if is_json and isinstance(value, (Mapping, list, tuple, bool)):
        value = to_json(value, where)
    plain = _plain(value)
    if not isinstance(plain, str):
        advice = 'decode it' if isinstance(value, (bytes, bytearray)) else \
            f"write '{plain}'" if type(plain) in (int, float) and abs(plain) < 1e9 else ''
        raise refused(where, 'text' + ' or what JSON can hold' * is_json, value, advice)
    if bad := _NO_TEXT.search(plain):
        raise ValueError(f'{where} has {bad.group()!r} at character {bad.start() + 1}, which ROS '
                         'cannot carry as text: remove it')
    return str.__str__(plain)  # of a subclass such as an Enum, its text


def to_bytes(value: Any, where: str) -> array[int]:
    """Return bytes."""
    if isinstance(value, array) and value.typecode == 'B':
        return value
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return array('B', value.tobytes())
    if isinstance(value, memoryview) and value.format == 'B':
        value = value.tobytes()
    if isinstance(value, (bytes, bytearray)):
        return array('B', value)
    try:
        parts = list(value) if not isinstance(value, (str, Mapping)) else None
    except TypeError:
        parts = None
    if parts is None:
        raise refused(where, 'bytes', value)
    return array('B', [to_integer(part, f'{where}[{number}]', 0, 255)
                       for number, part in enumerate(parts)])


def to_json(value: Any, where: str) -> str:
    """Return a value as JSON, with what numpy has in it."""
    def convert(part: Any) -> Any:
        if isinstance(part, Mapping):
            return dict(part)
        if isinstance(part, (np.generic, np.ndarray)):
            return part.tolist()
        raise TypeError(f'an object of the type {type(part).__qualname__} is none')

    try:
        return json.dumps(dict(value) if isinstance(value, Mapping) else value,
                          ensure_ascii=False, allow_nan=False, default=convert)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f'{where} takes text or what JSON can hold ({error}): use dicts, lists, '
                        'texts, numbers, True, False and None') from error


def without_what_ros_cannot_carry(text: str) -> str:
    """Return text from elsewhere so that :func:`to_text` takes it."""
    return _NO_TEXT.sub('\ufffd', text)


def _plain(value: Any) -> Any:
    """Return what is of numpy as Python has it, where it is one number or text."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        if value.dtype.kind in 'biuU':
            return value.item()
        if value.dtype.kind == 'f':  # item() leaves a longdouble as it is
            return float(value)
    return value
