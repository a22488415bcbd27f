# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests as nobody should send them: fields of odd values, and bytes that were changed."""
from __future__ import annotations

import array
import math
import random
from typing import Any

from lfm_ros import msg
from lfm_ros import srv
from rclpy.serialization import serialize_message

TEXTS = ['', ' ', 'hello', 'go on', '\0', '\n\t', 'é日😀', '\ufffd', '<|im_end|>', '{}', '[]', '{',
         'null', '{"type": "string", "maxLength": 3}', '{"type": "objekt"}', '{"not": {}}',
         '[a-c]{2}', '(', '(a+)+$', 'start: "x"', 'start: x', '../../etc/passwd', '/dev/zero',
         'm1', 'm2', 'default', 'required', 'none', 'go', '%s%n', 'x' * 300, 'x' * 70_000,
         'name: {"a": 1}', '\u202e', 'a' * 129, '~', '*', "'; DROP TABLE missions; --"]
NUMBERS = [0, 1, 2, -1, 3, 7, 127, 128, 255, 256, 1 << 15, (1 << 31) - 1, -(1 << 31), 1 << 32,
           (1 << 63) - 1, -(1 << 63)]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, -1e300, math.inf, -math.inf, math.nan, 1e-9,
          0.05]
SERVICES = {
    'ask': srv.Ask, 'missions/list': srv.ListMissions, 'missions/reset': srv.ResetMission,
    'missions/delete': srv.DeleteMission, 'missions/fork': srv.ForkMission,
    'missions/rewind': srv.RewindMission, 'missions/save': srv.SaveMission,
    'missions/export': srv.ExportMission, 'missions/import': srv.ImportMission,
    'model_info': srv.GetModelInfo, 'tokenize': srv.Tokenize}
_LEAVES = {'boolean': lambda c: c.random() < 0.3, 'string': lambda c: c.choice(TEXTS)}


def random_message(kind: Any, chance: random.Random, dullness: float = 0.6) -> Any:
    """
    Return a message of a type in which some fields have odd values.

    :param dullness: the chance of each field to stay as it is.
    """
    message = kind()
    for name, type_name in kind.get_fields_and_field_types().items():
        if chance.random() < dullness and name != 'query':
            continue
        value = _value(type_name, getattr(message, name), chance, dullness)
        try:
            setattr(message, name, value)
        except (AssertionError, TypeError, ValueError, OverflowError):
            pass  # not even rclpy would send it
    return message


def changed_bytes(message: Any, chance: random.Random) -> bytes:
    """Return a message as it goes over the wire, with some bytes changed, lost or added."""
    data = bytearray(serialize_message(message))
    for _ in range(chance.randrange(1, 6)):
        place, way = chance.randrange(4, len(data) + 1), chance.randrange(4)
        if way == 0 and place < len(data):
            data[place] = chance.randrange(256)
        elif way == 1:
            del data[place:place + chance.randrange(9)]
        elif way == 2:
            data[place:place] = chance.randbytes(chance.randrange(9))
        else:
            data[place:place + 4] = chance.choice([b'\xff' * 4, b'\0' * 4, b'\0\0\0\x7f'])
    return bytes(data)


def random_query(chance: random.Random) -> msg.Query:
    """Return a question with odd fields, of which many still can be answered."""
    query = random_message(msg.Query, chance, chance.choice([0.5, 0.9, 0.95]))
    if chance.random() < 0.8:
        query.prompt = query.prompt or 'hello'
        query.max_tokens = chance.choice([1, 2, 3])
    if len(query.prompt) > 1000 and chance.random() < 0.9:
        query.prompt = 'what now'
    return query


def _value(type_name: str, present: Any, chance: random.Random, dullness: float) -> Any:
    if type_name.startswith('sequence<'):
        inner = type_name[len('sequence<'):-1].partition(',')[0]
        count = chance.choice([0, 1, 1, 2, 3, 17, 70])
        if inner == 'uint8':
            return array.array('B', chance.randbytes(count * 10))
        if '/' in inner and count > 3 and chance.random() < 0.8:
            count = 1
        return [_value(inner, None, chance, dullness) for _ in range(count)]
    if '/' in type_name:
        return random_message(_kind(type_name), chance, dullness)
    if type_name in _LEAVES:
        return _LEAVES[type_name](chance)
    if 'float' in type_name or type_name == 'double':
        return chance.choice(FLOATS)
    bits = {'octet': 8, 'uint8': 8}.get(type_name) or int(type_name.lstrip('uint'))
    low = 0 if type_name[0] in 'uo' else -(1 << bits - 1)
    return chance.choice([n for n in NUMBERS if low <= n < low + (1 << bits)])


def _kind(type_name: str) -> Any:
    package, name = type_name.split('/')
    return getattr(__import__(f'{package}.msg', fromlist=['msg']), name)
