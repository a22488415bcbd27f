# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Give every field of every message values of every kind, as the client does, and send the result.

    python test/support/field_trial.py

A value of the wrong type that reaches a message ends the process, so this is one of its own. It
writes one line of JSON for each value: what was tried, and what came of it.
"""
from __future__ import annotations

from collections.abc import Iterator
import datetime
from decimal import Decimal
import json
from pathlib import Path
from typing import Any

from lfm_ros import action
from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.client.messages import _class
from lfm_ros.client.messages import to_message
import numpy as np
from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message
from rosidl_parser.definition import AbstractSequence
from rosidl_parser.definition import NamespacedType

KINDS = [kind for kind in vars(msg).values() if isinstance(kind, type)] + [
    kind.Request for kind in vars(srv).values() if hasattr(kind, 'Request')] + [
    action.Generate.Goal]


def values() -> list[Any]:
    """Return values of every kind, right and wrong ones."""
    return [
        None, True, False, 0, 1, 7, -1, 2**31, 2**70, 10**5000, 5.0, 5.5, float('nan'),
        float('inf'), 1e300, 1 + 2j, Decimal('5'), '', 'text', '7', 'a\ud800', 'a\0b', b'bytes',
        bytearray(b'bytes'), memoryview(b'bytes'), [], [None], ['a', 7], [1, 2], [[1], [2]],
        [300, -1], [1.5], ['a', 'b'], ('a',), {'a'}, {}, {'none': 1}, {1: 2}, [{}], [{'name': 1}],
        object(), object, len, lambda: None, iter(['a']), range(2), Path('name'),
        datetime.timedelta(1), np.int8(7), np.uint64(2**63), np.float32(5), np.float64('nan'),
        np.longdouble(5), np.bool_(True), np.str_('text'), np.timedelta64(5, 's'), np.array(5),
        np.array([1, 2]), np.array([1.5]), np.array(['a']), np.array(None), np.zeros((0, 2)),
        np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3)), np.ma.masked, msg.Sampling(top_k=0),
        msg.Sampling(temperature=0, seed='7'), msg.Tool(name=7), msg.Query(prompt=None), msg.Tool]


def fields(kind: Any, seen: set[Any], path: str = '') -> Iterator[tuple[str, Any]]:
    """
    Yield the place of each field, and what makes the fields of a value.

    :param seen: kinds of messages in messages that were tried; they are added.
    """
    for name, slot in zip(kind.get_fields_and_field_types(), kind.SLOT_TYPES):
        yield f'{path}{name}', lambda value, name=name: {name: value}
        inner = slot.value_type if isinstance(slot, AbstractSequence) else slot
        if not isinstance(inner, NamespacedType) or _class(inner) in seen:
            continue
        seen.add(_class(inner))
        is_list, of = inner is not slot, _class(inner)
        where = f'{path}{name}[0].' if is_list else f'{path}{name}.'
        for place, make in fields(of, seen, where):
            def as_dict(value: Any, name: str = name, make: Any = make, is_list: bool = is_list
                        ) -> dict[str, Any]:
                return {name: [make(value)] if is_list else make(value)}

            def as_message(value: Any, name: str = name, make: Any = make,
                           is_list: bool = is_list, of: Any = of) -> dict[str, Any]:
                found = of()
                for key, given in make(value).items():
                    setattr(found, f'_{key}', given)  # past setters that look at it
                return {name: [found] if is_list else found}

            yield place, as_dict
            yield place, as_message


def outcome(kind: Any, given: dict[str, Any]) -> str:
    """Return what came of it: sent, or the sentence; another exception is a fault."""
    try:
        message = to_message(kind, given)
    except (TypeError, ValueError) as error:
        return str(error)
    data = serialize_message(message)
    assert deserialize_message(data, kind) == message, 'something was lost'
    return 'sent'


def main() -> None:
    """Try all; the last line names what ended the process."""
    seen: set[Any] = set()
    for kind in KINDS:
        for place, make in fields(kind, seen):
            for number in range(len(values())):
                print(json.dumps([kind.__name__, place, number]), end=' ', flush=True)
                value = values()[number]  # afresh, since some can be used once
                try:
                    came = outcome(kind, make(value))
                except BaseException as error:
                    came = f'fault: {type(error).__name__}: {error}'
                print(json.dumps([type(value).__name__, came]))


if __name__ == '__main__':
    main()
