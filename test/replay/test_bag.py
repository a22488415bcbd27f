# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of rosbag2 in MCAP and SQLite: whole ones, and those whose end or middle is damaged."""
import random
import shutil
import sqlite3
import struct

import pytest

pytest.importorskip('mcap_ros2', reason='recordings need mcap-ros2-support')

from bag_support import BagWriter  # noqa: E402, I100
from bag_support import cdr  # noqa: E402
from bag_support import FORMATS  # noqa: E402
from bag_support import IMAGE  # noqa: E402
from bag_support import NODE  # noqa: E402
from bag_support import QUERY  # noqa: E402
from bag_support import SECOND  # noqa: E402
from bag_support import START  # noqa: E402
from bag_support import STRING  # noqa: E402
from lfm_ros.errors import ErrorCode  # noqa: E402
from lfm_ros.errors import LfmError  # noqa: E402
from lfm_ros.replay.bag import Bag  # noqa: E402
from lfm_ros.replay.decoder import MessageDecoder  # noqa: E402
from mcap.writer import CompressionType  # noqa: E402
from zstandard import ZstdCompressor  # noqa: E402

COUNT = 200


def everything(topic, kind):
    return True


def read(path):
    """Return the texts of all messages in a bag, and what is wrong with it."""
    bag, decoder = Bag(path), MessageDecoder()
    texts = [decoder.decode(raw).data for raw in bag.messages(everything)]
    return texts, list(bag.damage.values())


def write(path, storage='mcap', count=COUNT, **options):
    """Write a bag with numbered texts; return the file that has them."""
    with BagWriter(path, storage, **options) as bag:
        for number in range(count):
            bag.write(STRING, data=text(number))
    return bag.file


def text(number):
    return f'{number}: ' + 'the dock is at waypoint three, the door is open, ' * 4


TEXTS = [text(number) for number in range(COUNT)]


@pytest.mark.parametrize('storage', FORMATS)
def test_messages_come_as_they_were_recorded(tmp_path, storage):
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.write(QUERY, request_id='7', prompt='Wo ist die Tür? 🚪', stop=['a', 'b'],
                  max_tokens=9, sampling={'seed': -5}, tools=[{'name': 'f'}])
        bag.write(IMAGE, header={'stamp': {'sec': 5, 'nanosec': 6}, 'frame_id': 'c'}, width=2,
                  height=1, step=6, encoding='rgb8', data=[0, 255, 1, 2, 3, 4])
    raw = list(Bag(bag.path).messages(everything))
    assert [(r.topic, r.type, r.time, r.encoding) for r in raw] == [
        (NODE[QUERY], QUERY, START + SECOND, 'cdr'),
        (NODE[IMAGE], IMAGE, START + 2 * SECOND, 'cdr')]
    query, image = map(MessageDecoder().decode, raw)
    assert (query.request_id, query.prompt, query.stop) == ('7', 'Wo ist die Tür? 🚪', ['a', 'b'])
    assert (query.max_tokens, query.sampling.seed, query.sampling.temperature) == (9, -5, -1.0)
    assert (query.tools[0].name, query.response_format.json_schema, query.raw) == ('f', '', False)
    assert (image.header.stamp.sec, image.header.frame_id, image.width) == (5, 'c', 2)
    assert bytes(image.data) == bytes([0, 255, 1, 2, 3, 4])


@pytest.mark.parametrize('storage', FORMATS)
def test_only_wanted_topics_are_read(tmp_path, storage):
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for name in ('/a', '/b', '/a'):
            bag.write(STRING, name, data=name)
    seen = []

    def wanted(topic, kind):
        seen.append((topic, kind))
        return topic == '/a'

    assert [raw.topic for raw in Bag(bag.path).messages(wanted)] == ['/a', '/a']
    assert sorted(seen) == [('/a', STRING), ('/b', STRING)]


@pytest.mark.parametrize('compression', CompressionType)
def test_a_file_of_mcap_alone_is_a_bag_too(tmp_path, compression):
    file = write(tmp_path / 'bag', compression=compression, chunk=4096)
    assert read(file) == (TEXTS, [])


@pytest.mark.parametrize('compression', CompressionType)
@pytest.mark.parametrize('chunk', [4096, 1 << 20])
def test_a_cut_file_of_mcap_is_read_up_to_its_last_whole_message(tmp_path, compression, chunk):
    file = write(tmp_path / 'bag', compression=compression, chunk=chunk)
    data, cut, most = file.read_bytes(), tmp_path / 'cut.mcap', 0
    end = data.rindex(struct.pack('<BQ', 15, 4))  # of the messages: the record DataEnd
    for size in sorted(random.Random(1).sample(range(1, end), 60)):
        cut.write_bytes(data[:size])
        texts, damage = read(cut)
        assert texts == TEXTS[:len(texts)] and len(damage) == 1
        assert f' {len(texts)} message' in damage[0] and str(cut) in damage[0]
        assert len(texts) >= most, 'a longer file has no fewer messages'
        most = len(texts)
        if compression == CompressionType.NONE:
            whole = sum(f'{text}\0'.encode() in data[:size] for text in TEXTS)
            assert len(texts) == whole, 'none that is whole is lost'
    assert most > 0


@pytest.mark.parametrize('size', [0, 1, 8, 20])
@pytest.mark.parametrize('suffix', ['.mcap', '.db3'])
def test_a_file_of_a_few_bytes_has_no_messages(tmp_path, size, suffix):
    file = tmp_path / f'short{suffix}'
    file.write_bytes(b'\x89MCAP0\r\n then something else'[:size])
    texts, damage = read(file)
    assert texts == [] and len(damage) == 1


@pytest.mark.parametrize('compression', CompressionType)
def test_what_comes_before_a_flipped_byte_of_mcap_is_read(tmp_path, compression):
    file = write(tmp_path / 'bag', compression=compression, chunk=4096)
    data, chance, bad = file.read_bytes(), random.Random(2), tmp_path / 'bad.mcap'
    for _ in range(100):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        bad.write_bytes(changed)
        texts, damage = read(bad)
        assert texts == TEXTS[:len(texts)]
        assert len(texts) == COUNT or damage


def test_a_cut_file_of_sqlite_is_read_as_far_as_it_goes(tmp_path):
    file = write(tmp_path / 'bag', 'sqlite3', count=COUNT)
    data, cut, found = file.read_bytes(), tmp_path / 'cut.db3', []
    for size in range(4096, len(data), 4096):
        cut.write_bytes(data[:size])
        texts, damage = read(cut)
        assert texts == TEXTS[:len(texts)]
        assert len(texts) == COUNT or len(damage) == 1
        found.append(len(texts))
    assert found == sorted(found) and 0 < found[len(found) // 2] < COUNT


@pytest.mark.parametrize('storage', FORMATS)
def test_a_recorder_that_was_killed_leaves_no_metadata_and_that_is_told(tmp_path, storage):
    write(tmp_path / 'bag', storage, ended=False)
    texts, damage = read(tmp_path / 'bag')
    assert texts == TEXTS and len(damage) == 1 and 'metadata.yaml' in damage[0]


def test_what_a_killed_recorder_left_in_the_log_of_sqlite_is_read(tmp_path):
    file = write(tmp_path / 'bag', 'sqlite3', count=3)
    database = sqlite3.connect(file)
    database.execute('PRAGMA journal_mode=WAL')
    database.execute('INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 5, ?)',
                     (cdr(STRING, data='last'),))
    database.commit()
    killed = tmp_path / 'killed'
    killed.mkdir()
    for part in file.parent.iterdir():
        shutil.copy(part, killed)
    database.close()
    assert read(killed) == ([*TEXTS[:3], 'last'], [])


@pytest.mark.parametrize('storage', FORMATS)
def test_the_parts_of_a_bag_come_in_their_order(tmp_path, storage):
    for number in range(12):
        with BagWriter(tmp_path / f'{number}', storage) as part:
            part.write(STRING, data=str(number))
        (tmp_path / 'bag').mkdir(exist_ok=True)
        part.file.rename(tmp_path / 'bag' / f'bag_{number}{part.file.suffix}')
    (tmp_path / 'bag' / 'metadata.yaml').touch()
    assert read(tmp_path / 'bag') == ([str(number) for number in range(12)], [])


@pytest.mark.parametrize('storage', FORMATS)
def test_a_part_that_is_damaged_does_not_hide_the_next(tmp_path, storage):
    folder = tmp_path / 'bag'
    file = write(folder, storage, count=3)
    later = write(tmp_path / 'later', storage, count=2)
    later.rename(folder / f'bag_1{file.suffix}')
    file.write_bytes(b'nothing')
    texts, damage = read(folder)
    assert texts == TEXTS[:2] and len(damage) == 1 and file.name in damage[0]


@pytest.mark.parametrize('storage', FORMATS)
def test_a_file_that_rosbag2_compressed_is_read(tmp_path, storage):
    file = write(tmp_path / 'bag', storage)
    packed = file.with_name(f'{file.name}.zstd')
    data = ZstdCompressor().compress(file.read_bytes())
    packed.write_bytes(data)
    file.unlink()
    assert read(tmp_path / 'bag') == (TEXTS, [])
    packed.write_bytes(data[:len(data) // 2])
    texts, damage = read(tmp_path / 'bag')
    assert texts == TEXTS[:len(texts)] and damage


@pytest.mark.parametrize('storage', FORMATS)
def test_messages_that_rosbag2_compressed_are_read(tmp_path, storage):
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for number in range(3):
            data = cdr(STRING, data=text(number))
            bag.write_raw(STRING, '/a', ZstdCompressor().compress(data))
    assert read(tmp_path / 'bag') == (TEXTS[:3], [])


def test_a_camera_needs_no_definition_in_the_bag(tmp_path):
    with BagWriter(tmp_path / 'bag', 'sqlite3', definitions=False) as bag:
        bag.write(STRING, data='yes')
        bag.write(QUERY, prompt='What?')
    first, second = Bag(bag.path).messages(everything)
    assert MessageDecoder().decode(first).data == 'yes'
    with pytest.raises(LfmError, match='no definition of lfm_ros/msg/Query') as caught:
        MessageDecoder().decode(second)
    assert caught.value.code == ErrorCode.UNSUPPORTED


def test_a_message_that_is_no_message_is_a_value_error(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write_raw(STRING, '/a', b'\0\1\0\0\xff\xff\xff\x7fabc')
        bag.write_raw(STRING, '/a', b'\0\1\0\0\2\0\0\0\xff\0')
        bag.write_raw(STRING, '/a', b'')
    for raw in Bag(bag.path).messages(everything):
        with pytest.raises(ValueError):
            MessageDecoder().decode(raw)


@pytest.mark.parametrize('make, words', [
    (lambda path: None, 'there is no bag'),
    (lambda path: path.mkdir(), 'neither .mcap nor .db3'),
    (lambda path: path.write_text('x'), 'ends in .mcap or .db3'),
    (lambda path: [path.mkdir(), (path / 'a.mcap').touch(), (path / 'b.db3').touch()],
     'give one of them')])
def test_what_is_no_bag_is_refused_with_what_to_do(tmp_path, make, words):
    make(tmp_path / 'bag')
    with pytest.raises(LfmError, match=words) as caught:
        Bag(tmp_path / 'bag')
    assert caught.value.code == ErrorCode.INVALID_VALUE
