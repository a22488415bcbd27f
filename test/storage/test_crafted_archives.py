# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Archives of missions that somebody has made to cost time or memory."""
import struct
import tracemalloc
import zipfile

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage import archive_reader as archive_module
from lfm_ros.storage.archive_reader import ArchiveReader
from lfm_ros.storage.archive_writer import ArchiveWriter
from log_support import transcript
import pytest
from support import assert_one_line

MEMBER = struct.pack('<4s6H3L5H2L', b'PK\1\2', 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)


def refusal(file):
    """Return why an archive is refused."""
    with pytest.raises(LfmError) as raised:
        ArchiveReader(file)
    assert raised.value.code == ErrorCode.ARCHIVE_INVALID
    assert_one_line(raised.value.message, str(file))
    return raised.value.message


@pytest.fixture
def archive(tmp_path):
    """Return an archive of a mission."""
    ArchiveWriter.of(transcript(), None).write(tmp_path / 'm.lfm')
    return tmp_path / 'm.lfm'


@pytest.mark.parametrize('large', [False, True], ids=['32 bits', '64 bits'])
def test_an_archive_of_a_million_members_is_refused_before_they_are_counted(tmp_path, large):
    file, count = tmp_path / 'x.lfm', 1_000_000
    block = b''.join(MEMBER + b'%07d' % number for number in range(1000))
    size = count * (len(MEMBER) + 7)
    with open(file, 'wb') as stream:
        for _ in range(count // 1000):
            stream.write(block)
        if large:
            stream.write(struct.pack('<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, count, count, size,
                                     0))
            stream.write(struct.pack('<4sLQL', b'PK\6\7', 0, size, 1))
        stream.write(struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 0xffff, 0xffff,
                                 22 if large else size, 0, 0))
    tracemalloc.start()
    try:
        assert 'more members' in refusal(file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_with_something_behind_its_end_is_refused(archive):
    data = archive.read_bytes()
    for spoiled in (data + b'x', data[:-2] + b'\1\0x', data[:-2] + b'\1\0'):
        archive.write_bytes(spoiled)
        refusal(archive)


def test_an_archive_that_lies_in_64_bits_is_refused(archive):
    data = archive.read_bytes()
    start = data.index(b'PK\1\2')
    name = struct.unpack_from('<H', data, start + 28)[0]
    for sizes in ((1 << 62, 1 << 62, 0), (5, 1 << 40, 0), (9, 9, 1 << 50)):
        extra = struct.pack('<HHQQQ', 1, 24, *sizes)
        head = bytearray(data[start:start + 46 + name])
        head[20:28], head[42:46] = b'\xff' * 8, b'\xff' * 4
        head[30:32] = struct.pack('<H', len(extra))
        listed = bytes(head) + extra
        archive.write_bytes(data[:start] + listed + struct.pack(
            '<4s4H2LH', b'PK\5\6', 0, 0, 1, 1, len(listed), start, 0))
        refusal(archive)


def test_members_that_lie_on_each_other_are_refused(tmp_path):
    names = [f'images/{letter * 64}.png' for letter in 'ab']
    file = tmp_path / 'x.lfm'
    with zipfile.ZipFile(file, 'w') as packed:
        packed.writestr('mission.json', '{}')
        for name in names:
            packed.writestr(name, b'x' * 1000)
        packed.infolist()[2].header_offset = packed.infolist()[1].header_offset
    refusal(file)


@pytest.mark.parametrize('text', [b'[' * 1_000_000, b'{"a":' * 500_000, b'1' * 1_000_000,
                                  b'"' + b'x' * 1000, b'\xff', b'NaN', b'[]', b'null'],
                         ids=lambda text: repr(text[:9]))
def test_json_that_is_none_is_refused(tmp_path, text):
    with zipfile.ZipFile(tmp_path / 'x.lfm', 'w') as packed:
        packed.writestr('mission.json', text)
    refusal(tmp_path / 'x.lfm')


def test_images_that_would_fill_the_memory_are_refused(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(archive_module, '_MAX_IMAGES_BYTES', 1 << 20)
    with zipfile.ZipFile(archive, 'a') as packed:
        for number in range(11):
            packed.writestr(f'images/{number:064}.png', b'x' * 100_000)
    assert 'more images' in refusal(archive)
