# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write small bags as rosbag2 does, into MCAP or SQLite, without ROS."""
from __future__ import annotations

from functools import lru_cache
from pathlib import Path
import re
import sqlite3
from typing import Any

from lfm_ros.replay.decoder import COMPRESSED_IMAGE
from lfm_ros.replay.decoder import IMAGE
from lfm_ros.replay.decoder import OBSERVATION
from lfm_ros.replay.decoder import QUERY
from lfm_ros.replay.decoder import RESPONSE
from lfm_ros.replay.decoder import STRING
from mcap.writer import CompressionType
from mcap.writer import Writer
from mcap_ros2._dynamic import serialize_dynamic
from support import ROOT

FORMATS = ('mcap', 'sqlite3')
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
NODE = {QUERY: '/lfm/query', OBSERVATION: '/lfm/observe', RESPONSE: '/lfm/response',
        STRING: '/lfm/prompt', IMAGE: '/camera/image_raw',
        COMPRESSED_IMAGE: '/camera/image_raw/compressed'}
_OTHERS = {
    'builtin_interfaces/Time': 'int32 sec\nuint32 nanosec',
    'std_msgs/Header': 'builtin_interfaces/Time stamp\nstring frame_id',
    'std_msgs/String': 'string data',
    'sensor_msgs/Image': 'std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\n'
                         'uint8 is_bigendian\nuint32 step\nuint8[] data',
    'sensor_msgs/CompressedImage': 'std_msgs/Header header\nstring format\nuint8[] data'}
_TABLES = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
  serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
  type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,
  encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL,
  type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
  timestamp INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""


@lru_cache(maxsize=None)
def definition_of(kind: str) -> str:
    """Return the definition of a type and of those in it, as rosbag2 stores it."""
    first, parts, wanted = _short(kind), [], [_short(kind)]
    for name in wanted:
        package, _, base = name.partition('/')
        text = _OTHERS.get(name) or (ROOT / 'msg' / f'{base}.msg').read_text()
        parts.append(text if name == first else f'{"=" * 80}\nMSG: {name}\n{text}')
        for field in re.findall(r'^([A-Z][A-Za-z]*|\w+/[A-Z]\w*)(?:\[\])?\s+\w+', text, re.M):
            other = field if '/' in field else f'{package}/{field}'
            if other not in wanted:
                wanted.append(other)
    return '\n'.join(parts)


def cdr(kind: str, **fields: Any) -> bytes:
    """Return a message in CDR; what is not given has its default."""
    return _encoder(kind)(fields)


@lru_cache(maxsize=None)
def _encoder(kind: str) -> Any:
    return serialize_dynamic(kind, definition_of(kind))[kind]


def _short(kind: str) -> str:
    return kind.replace('/msg/', '/')


class BagWriter:
    """
    A bag that is written; a context manager.

    :param path: new folder.
    :param storage: one of :data:`FORMATS`.
    :param ended: whether the recorder ended as it should.
    :ivar file: that has the messages.
    """

    def __init__(self, path: Path, storage: str = 'mcap', ended: bool = True,
                 compression: CompressionType = CompressionType.ZSTD, chunk: int = 1 << 20,
                 definitions: bool = True) -> None:
        path.mkdir()
        suffix = {'mcap': 'mcap', 'sqlite3': 'db3'}[storage]
        self.path, self.file = path, path / f'{path.name}_0.{suffix}'
        self._is_mcap = storage == 'mcap'
        self._ended = ended
        self._definitions = definitions
        self._topics: dict[str, int] = {}
        self._seconds = 0
        if self._is_mcap:
            self._writer = Writer(str(self.file), chunk, compression)
            self._writer.start('ros2')
        else:
            self._database = sqlite3.connect(self.file)
            self._database.executescript(_TABLES)

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_mcap:
            self._writer.finish()
        else:
            self._database.commit()
            self._database.close()
        if self._ended:
            (self.path / 'metadata.yaml').write_text('rosbag2_bagfile_information: {}\n')

    def write(self, kind: str, topic: str = '', serialization: str = 'cdr', **fields: Any) -> None:
        """Write a message, one second after the last one."""
        self.write_raw(kind, topic or NODE[kind], cdr(kind, **fields), serialization=serialization)

    def write_raw(self, kind: str, topic: str, data: bytes, time: int = 0,
                  serialization: str = 'cdr') -> None:
        """Write a message that is serialized already."""
        self._seconds += 1
        time = time or START + self._seconds * SECOND
        if topic not in self._topics:
            self._topics[topic] = self._add_topic(kind, topic, serialization)
        if self._is_mcap:
            self._writer.add_message(self._topics[topic], time, data, time)
        else:
            self._database.execute(
                'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)',
                (self._topics[topic], time, data))

    def _add_topic(self, kind: str, topic: str, serialization: str) -> int:
        text = definition_of(kind) if self._definitions else ''
        if self._is_mcap:
            schema = self._writer.register_schema(kind, 'ros2msg' if text else '', text.encode())
            return self._writer.register_channel(topic, serialization, schema)
        if text:
            self._database.execute(
                'INSERT INTO message_definitions (topic_type, encoding, '
                "encoded_message_definition, type_description_hash) VALUES (?, 'ros2msg', ?, '')",
                (kind, text))
        cursor = self._database.execute(
            'INSERT INTO topics (name, type, serialization_format, offered_qos_profiles, '
            "type_description_hash) VALUES (?, ?, ?, '', '')", (topic, kind, serialization))
        return int(cursor.lastrowid or 0)


def answered(bag: BagWriter, answer: Any, **fields: Any) -> None:
    """Write the response with an answer to a question."""
    bag.write(RESPONSE, request_id=answer.request_id, mission_id=answer.mission_id,
              **{'text': answer.text, 'finish_reason': answer.finish_reason,
                 'error_code': int(answer.error_code), 'error_msg': answer.error_msg,
                 'usage': vars(answer.usage),
                 'tool_calls': [vars(call) for call in answer.tool_calls], **fields})
