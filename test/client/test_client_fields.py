# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is given for a field is converted where nothing is lost, or refused in one sentence."""
from array import array
from collections.abc import Callable
from collections.abc import Iterator
from enum import Enum
import io
import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.client import describe
from lfm_ros.client import LfmClient
from lfm_ros.client import Toolbox
from lfm_ros.client.messages import to_message
from lfm_ros.serving.query_message import to_frames
from lfm_ros.serving.query_message import to_query
from node_support import environment
from node_support import ROOT
import numpy as np
from PIL import Image as Picture
import pytest
from rclpy.context import Context
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image

QUERY = msg.Query
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Place(str, Enum):
    """A place."""

    DOCK = 'dock'


def drive(place: str) -> None:
    """Drive somewhere."""


def field(name: str, value: Any, kind: Any = QUERY) -> Any:
    """Return what a message has for a value."""
    return getattr(to_message(kind, {name: value}), name)


def error_of(given: dict[str, Any]) -> Exception:
    """Return what a query raises."""
    with pytest.raises((TypeError, ValueError)) as caught:
        to_message(QUERY, given)
    return caught.value


def sentence(**fields: Any) -> str:
    """Return why a query is refused."""
    return str(error_of(fields))


def encoded(kind: str, pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
    """Return an image file."""
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def seen(**images: Any) -> list[np.ndarray]:
    """Return the pixels that the node gets."""
    return [frame.pixels() for frame in to_frames(to_message(QUERY, images), (0, 65535))]


def test_no_value_for_any_field_of_any_message_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / 'test/support/field_trial.py'], capture_output=True, text=True,
        env=environment())
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr)
    tried = set()
    for line in lines:
        (kind, place, number), (given, came) = json.loads(f'[{line.replace("] [", "],[", 1)}]')
        tried.add((kind, place))
        named = came == 'sent' or came.startswith(place.split('.')[0].split('[')[0])
        assert named and '\n' not in came and len(came) < 500, line
    assert {kind for kind, _ in tried} >= {'Query', 'Observation', 'Generate_Goal', 'Tool',
                                           'Tokenize_Request', 'RewindMission_Request'}
    assert len(tried) > 150 and len(lines) > 10_000


@pytest.mark.parametrize('name, given, wanted', [
    ('timeout', 20, 20.0), ('timeout', np.int8(20), 20.0), ('timeout', np.longdouble(2.5), 2.5),
    ('max_tokens', 5.0, 5), ('max_tokens', np.float32(5), 5), ('max_tokens', np.uint64(5), 5),
    ('max_tokens', np.array(5), 5), ('max_tokens', -2**31, -2**31),
    ('aside', 1, True), ('aside', 0, False), ('aside', np.bool_(True), True),
    ('mission_id', np.str_('m'), 'm'), ('mission_id', Place.DOCK, 'dock'),
    ('stop', 'x', ['x']), ('stop', ('a', 'b'), ['a', 'b']), ('stop', np.array(['a', 'b']), [
        'a', 'b']), ('stop', (text for text in 'ab'), ['a', 'b']), ('stop', Place.DOCK, ['dock']),
    ('sampling', {'temperature': 0, 'top_k': 5.0}, msg.Sampling(temperature=0.0, top_k=5)),
    ('sampling', msg.Sampling(temperature=0), msg.Sampling(temperature=0.0)),
    ('sampling', {'seed': 2**63 - 1}, msg.Sampling(seed=2**63 - 1)),
    ('response_format', {'choices': 'yes'}, msg.ResponseFormat(choices=['yes'])),
    ('response_format', {'json_schema': {'enum': [np.int8(1)]}},
     msg.ResponseFormat(json_schema='{"enum": [1]}')),
    ('tools', {'name': 'a'}, [msg.Tool(name='a')]), ('tools', drive, [describe(drive)]),
    ('tools', Toolbox([drive]), [describe(drive)]),
    ('tools', [drive, {'type': 'function', 'function': {'name': 'a', 'description': 'b'}}],
     [describe(drive), msg.Tool(name='a', description='b')]),
    ('tool_results', {'name': 'a', 'content': {'ok': True}},
     [msg.ToolResult(name='a', content='{"ok": true}')]),
    ('tool_results', [msg.ToolResult(name='a', content=[1])],
     [msg.ToolResult(name='a', content='[1]')])])
def test_what_loses_nothing_is_converted(name: str, given: Any, wanted: Any) -> None:
    found = field(name, given)
    assert found == wanted and type(found) is type(wanted)


def test_times_and_paths_are_taken_where_they_are_meant() -> None:
    header = field('header', {'stamp': Time(seconds=3), 'frame_id': 'camera'})
    assert (header.stamp.sec, header.frame_id) == (3, 'camera')
    assert field('file', Path('m.lfm'), srv.ImportMission.Request) == 'm.lfm'
    with pytest.raises(TypeError, match='^mission_id takes text, not an object of the type pathl'):
        field('mission_id', Path('m'))


@pytest.mark.parametrize('name, given, why', [
    ('prompt', None, 'takes text, not None'), ('prompt', b'a', 'not b.a. .bytes.: decode it'),
    ('prompt', 'a\ud800', r'has .\\ud800. at character 2'),
    ('stop', ['b\0'], r'\[0\] has .\\x00. at character 2'),
    ('mission_id', 7, "takes text, not 7 .int.: write '7'"), ('stop', [1], r'\[0\] takes text'),
    ('max_tokens', 5.5, 'takes a whole number from -2147483648 to 2147483647, not 5.5'),
    ('max_tokens', 2**31, 'not 2147483648'), ('max_tokens', True, 'not True .bool.'),
    ('max_tokens', '5', "not '5' .str."), ('timeout', float('nan'), 'takes a finite number'),
    ('timeout', 2**53 + 1, 'exactly'), ('timeout', '20', 'takes a number'),
    ('aside', 'no', 'takes True or False'), ('aside', 2, 'takes True or False'),
    ('sampling', 0.5, 'takes a dict with some of temperature, .*, not 0.5'),
    ('sampling', {'temperature': 1e300}, '.temperature takes .* 32 bits cannot hold'),
    ('sampling', {'temperture': 1}, "has no field 'temperture': did you mean 'temperature'?"),
    ('response_format', {'json_schema': {'enum': object()}}, '.json_schema takes text or .* JSON'),
    ('tools', 'drive', 'takes functions, dicts'), ('tools', lambda: 0, ': <lambda> has no name'),
    ('tools', [{'name': 'a', 'descripton': 'b'}], r"\[0\]: .*'descripton', which is not known"),
    ('images', 'no file', "names the file 'no file', which cannot be read"),
    ('images', 5, 'takes a file name'),
    ('images', encoded('GIF'), 'takes JPEG and PNG, not GIF bytes'),
    ('images', np.zeros((2, 2)), 'takes pixels of uint8 or uint16, not float64'),
    ('images', np.zeros((3, 2, 2), np.uint8), r'takes pixels as .* not \[3, 2, 2\]'),
    ('images', [encoded('PNG'), PIXELS], r'\[1\] has pixels and comes behind a JPEG or PNG'),
    ('compressed_images', {'data': [1, 300]}, r'.data\[1\] takes a whole number from 0 to 255')])
def test_what_would_lose_something_is_refused_by_the_name_of_its_field(
        name: str, given: Any, why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f'^{name}.*{why}'):
        to_message(QUERY, {name: given})


@pytest.mark.parametrize('name, meant', [
    ('time_out', "'timeout'"), ('image', "'images'"), ('use_cam', "'use_camera'"),
    ('temprature', "sampling={'temperature': ...}"), ('seed', "sampling={'seed': ...}"),
    ('json_schema', "response_format={'json_schema': ...}")])
def test_an_unknown_field_is_refused_with_the_nearest_name(name: str, meant: str) -> None:
    assert sentence(**{name: 1}) == f"Query has no field '{name}': did you mean {meant}?"


def test_a_field_like_none_is_refused_with_all_names() -> None:
    assert sentence(zzz=1).startswith("Query has no field 'zzz': it has header, request_id, ")


@pytest.mark.parametrize('image', [
    PIXELS, PIXELS[::-1], PIXELS[:, :, :1], PIXELS[:, :, 0], np.dstack([PIXELS, PIXELS[:, :, 0]]),
    PIXELS.astype(np.uint16)[:, :, 0] * 257])
def test_the_node_sees_the_pixels_of_an_array(image: np.ndarray) -> None:
    wanted = image if image.ndim == 3 else image[:, :, None]
    wanted = (wanted >> 8 if image.dtype == np.uint16 else wanted)[:, :, :3]
    assert np.array_equal(seen(images=image)[0], wanted)
    if image.dtype == np.uint8:
        assert np.array_equal(seen(images=Picture.fromarray(image.squeeze()))[0], wanted)
        assert np.array_equal(seen(compressed_images=image)[0], wanted)
    assert len(seen(images=[image, image])) == 2


def test_a_file_is_sent_as_it_is_however_it_is_given(tmp_path: Path) -> None:
    data, file = encoded('JPEG'), tmp_path / 'a.jpg'
    file.write_bytes(data)
    for given in (file, str(file), data, bytearray(data), open(file, 'rb').read()):
        for name in ('images', 'compressed_images'):
            found = to_message(QUERY, {name: given})
            assert [image.data.tobytes() for image in found.compressed_images] == [data]
            assert (found.images, found.compressed_images[0].format) == ([], 'jpeg')


def test_an_image_of_pillow_is_sent_upright_as_its_file_is() -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6  # turned by a quarter
    file = encoded('PNG', exif=exif)
    shown, = seen(images=Picture.open(io.BytesIO(file)))
    assert shown.shape == (6, 4, 3) and np.array_equal(shown, seen(images=file)[0])


def test_pixels_before_files_keep_their_order() -> None:
    found = seen(images=[PIXELS, encoded('PNG', 255 - PIXELS)], compressed_images=PIXELS // 2)
    assert [int(image[0, 0, 1]) for image in found] == [1, 254, 0]


def test_a_frame_of_cv_bridge_passes_though_it_has_a_bool_where_ros_has_a_number() -> None:
    frame = Image(height=2, width=2, step=6, is_bigendian=True, encoding='rgb8', data=bytes(12))
    found, = field('images', frame)
    assert (found.is_bigendian, found.data) == (1, array('B', bytes(12)))
    assert type(found.is_bigendian) is int


def test_the_node_reads_what_was_converted() -> None:
    query = to_query(to_message(QUERY, {
        'prompt': 'go', 'tools': drive, 'sampling': {'temperature': 0}, 'stop': 'x'}))
    assert (query.stop, query.sampling['temperature'], query.tools[0].name) == (
        ('x',), 0.0, 'drive')


@pytest.mark.parametrize('tools', [None, 5, ['drive'], [(drive, drive)], [None]])
def test_what_is_no_function_is_no_tool(tools: Any) -> None:
    with pytest.raises(TypeError, match='^tools.* takes functions, or pairs'):
        Toolbox(tools)


def test_one_function_is_a_toolbox_of_one() -> None:
    assert [tool.name for tool in Toolbox(drive).messages] == ['drive']


def test_what_a_function_gives_reaches_the_model_whatever_is_in_it() -> None:
    def read() -> str:
        """Read."""
        return 'a\0b\ud800'

    assert Toolbox(read).run(msg.ToolCall(name='read', arguments='{}')).content == 'a\ufffdb\ufffd'


@pytest.fixture(scope='module')
def client() -> Iterator[LfmClient]:
    """Give a client of no node, which is enough to be refused."""
    context = Context()
    context.init()
    node = Node('user', context=context)
    yield LfmClient(node)
    node.destroy_node()
    context.shutdown()


MISTAKES: dict[str, Callable[[LfmClient], Any]] = {
    'mission_id': lambda c: c.delete(7), 'new_mission_id': lambda c: c.fork('a', None),
    'turns': lambda c: c.rewind(-1), 'file': lambda c: c.import_(b'a'),
    'text': lambda c: c.observe(None), "Observation has no field 'image'": lambda c: c.observe(
        'a', image=b''), 'choices': lambda c: c.choose('a', None), 'schema': lambda c: c.ask_json(
        'a', {1, 2}), 'tools': lambda c: c.run_tools('a', None), 'rounds': lambda c: c.run_tools(
        'a', [], rounds='3'), 'on_token': lambda c: c.generate('a', on_token='print'),
    "Query has no field 'on_tokens': did you mean 'on_token'": lambda c: c.generate(
        'a', on_tokens=print), 'timeout': lambda c: c.wait(None), 'prompt': lambda c: c.ask(None),
    'server': lambda c: LfmClient(c._node, 7), 'node': lambda c: LfmClient(None)}


@pytest.mark.parametrize('named', MISTAKES)
def test_a_mistake_is_named_by_whatever_is_called(client: LfmClient, named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f'^{named}'):
        MISTAKES[named](client)


ROWS = re.findall(r'^\| `(\w+=.*?)` \| (.*) \|$', (ROOT / 'docs' / 'guide.md').read_text(
    encoding='utf-8').partition('## From Python')[2].partition('\n## ')[0], re.MULTILINE)


def test_the_guide_has_ten_mistakes() -> None:
    assert len(ROWS) == 10


@pytest.mark.parametrize('typed, came', ROWS)
def test_the_guide_says_what_comes_of_a_mistake(typed: str, came: str) -> None:
    given = eval(f'dict({typed})')
    name, = given
    if came.startswith('`'):
        assert field(name, given[name]) == eval(came.strip('`'), vars(msg).copy())
    else:
        assert f'{type(error_of(given)).__name__}: {error_of(given)}' == came
