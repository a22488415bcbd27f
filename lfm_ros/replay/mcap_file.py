# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Read an MCAP file from its beginning, as far as it goes.

The reader needs neither the index nor the summary at the end: a recorder that was killed has
written none.
"""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import io
from pathlib import Path
from typing import BinaryIO
from typing import cast
from typing import IO
import zlib

from lfm_ros.replay.damage import Damaged
from lfm_ros.replay.decoder import RawMessage
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel
from mcap.records import Chunk
from mcap.records import DataEnd
from mcap.records import McapRecord
from mcap.records import Message
from mcap.records import Schema
from mcap.stream_reader import StreamReader
from zstandard import ZstdDecompressor

_HEAD = 9  # bytes of a record before its content: opcode and length
_NO_SCHEMA = Schema(id=0, name='', encoding='', data=b'')


class _Whole:
    """
    A file that refuses to give less than was asked for.

    What mcap takes from a file it takes as whole.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        found = self._file.read(size)
        if len(found) < size:
            raise Damaged('it is cut off')
        return found


def _whole(file: BinaryIO) -> IO[bytes]:
    return cast('IO[bytes]', _Whole(file))  # mcap calls nothing but read()


def read_mcap(path: Path, wanted: Callable[[str, str], bool]) -> Iterator[RawMessage]:
    """
    Yield the messages of a file, in the order in which they were written.

    :param wanted: asked for every topic that it meets, with its type.
    :raises Damaged: where the file can be read no further.
    """
    schemas: dict[int, Schema] = {}
    channels: dict[int, tuple[Channel, Schema, bool]] = {}
    try:
        for record in _records(path):
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                schema = schemas.get(record.schema_id, _NO_SCHEMA)
                channels[record.id] = record, schema, wanted(record.topic, schema.name)
            elif isinstance(record, Message):
                channel, schema, is_wanted = channels[record.channel_id]
                if is_wanted:
                    yield RawMessage(
                        channel.topic, schema.name, record.log_time, record.data,
                        channel.message_encoding,
                        schema.data.decode() if schema.encoding == 'ros2msg' else '')
    except Damaged:
        raise
    except Exception as error:  # of mcap, lz4, zstandard and struct, whatever the bytes are
        raise Damaged(str(error) or type(error).__name__) from error


def _records(path: Path) -> Iterator[McapRecord]:
    """Yield the records of a file, those in chunks one by one."""
    with path.open('rb') as file:
        start = 0
        try:
            for record in StreamReader(_whole(file), emit_chunks=True).records:
                if isinstance(record, Chunk):
                    yield from _records_in(record)
                elif isinstance(record, DataEnd):
                    return
                else:
                    yield record
                start = file.tell()
        except Damaged:
            file.seek(start)
            yield from _records_of_cut_chunk(file)
            raise


def _records_in(chunk: Chunk) -> Iterator[McapRecord]:
    data = _decompress(chunk.compression, chunk.data)
    if len(data) != chunk.uncompressed_size or \
            chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise McapError('the checksum of a chunk is wrong')
    yield from _records_of(data)


def _records_of_cut_chunk(file: BinaryIO) -> Iterator[McapRecord]:
    """Yield the whole records of a chunk whose end is missing."""
    data = file.read()
    if data[:1] != bytes([Opcode.CHUNK]):
        return
    stream = ReadDataStream(_whole(io.BytesIO(data[_HEAD:])))
    for size in (8, 8, 8, 4):  # times, size, checksum
        stream.read(size)
    compression = stream.read_prefixed_string()
    stream.read(8)
    yield from _records_of(_decompress(compression, data[_HEAD + stream.count:]))


def _records_of(data: bytes) -> Iterator[McapRecord]:
    """Yield the records in the content of a chunk."""
    file = io.BytesIO(data)
    records = StreamReader(_whole(file), skip_magic=True).records
    while file.tell() < len(data):
        yield next(records)


def _decompress(compression: str, data: bytes) -> bytes:
    """Return what was compressed, as far as it is there."""
    if compression == 'zstd':
        return ZstdDecompressor().decompressobj().decompress(data)
    if compression == 'lz4':
        from lz4.frame import LZ4FrameDecompressor
        return LZ4FrameDecompressor().decompress(data)
    if compression:
        raise McapError(f"its chunks are compressed by '{compression}', not lz4 or zstd")
    return data
