# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of a recording, from CDR by the definitions that it brings along."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory

STRING = 'std_msgs/msg/String'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
QUERY, OBSERVATION, RESPONSE = (f'lfm_ros/msg/{n}' for n in ('Query', 'Observation', 'Response'))

_HEADER = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""
# Bags of SQLite have no definitions before ROS 2 Iron.
_DEFINITIONS = {
    STRING: 'string data',
    IMAGE: 'std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\n'
           'uint8 is_bigendian\nuint32 step\nuint8[] data' + _HEADER,
    COMPRESSED_IMAGE: 'std_msgs/Header header\nstring format\nuint8[] data' + _HEADER}


@dataclass(frozen=True)
class RawMessage:
    """
    A message as it was recorded.

    :param time: when it was received, in nanoseconds since 1970.
    :param encoding: of ``data``; ROS 2 has cdr.
    :param definition: of its type and of those in it, in the format ros2msg; empty: there is none.
    """

    topic: str
    type: str
    time: int
    data: bytes
    encoding: str
    definition: str


class _Whole(bytes):
    """Bytes of which nothing beyond their end can be taken: mcap would take what there is."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and key.stop > len(self):
            raise ValueError('it is cut off')
        return super().__getitem__(key)


class MessageDecoder:
    """Decodes messages; a definition is compiled once."""

    def __init__(self) -> None:
        self._decoders: dict[tuple[str, str], Callable[[bytes], Any]] = {}

    def decode(self, raw: RawMessage) -> Any:
        """
        Return a message, an object with the fields of its type.

        :raises LfmError: UNSUPPORTED, when it is not in CDR, or nothing says what is in it.
        :raises ValueError: when it is no message of its type.
        """
        key = raw.type, raw.definition
        if key not in self._decoders:
            self._decoders[key] = _decoder_of(raw)
        try:
            return self._decoders[key](_Whole(raw.data))
        except Exception as error:
            raise ValueError(str(error)) from error


def _decoder_of(raw: RawMessage) -> Callable[[bytes], Any]:
    if raw.encoding != 'cdr':
        raise LfmError(ErrorCode.UNSUPPORTED, f'the messages of {raw.topic} are encoded as '
                       f"'{raw.encoding}': record them by rosbag2, which writes cdr")
    definition = raw.definition or _DEFINITIONS.get(raw.type, '')
    decoder = None
    if definition:
        schema = Schema(id=1, name=raw.type, encoding='ros2msg', data=definition.encode())
        try:
            decoder = DecoderFactory().decoder_for(raw.encoding, schema)
        except Exception as error:
            raise LfmError(ErrorCode.UNSUPPORTED, f'the definition of {raw.type} in the recording '
                           f'cannot be read ({error}): record it anew by rosbag2') from error
    if decoder is None:
        raise LfmError(ErrorCode.UNSUPPORTED, f'the recording has no definition of {raw.type}: '
                       "convert it by 'ros2 bag convert' of ROS 2 Iron or newer")
    return decoder
