# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a recording asks: questions with their answers, observations, frames of cameras."""
from types import SimpleNamespace

import pytest

pytest.importorskip('mcap_ros2', reason='recordings need mcap-ros2-support')

import bag_support  # noqa: E402, I100
from bag_support import BagWriter  # noqa: E402
from bag_support import COMPRESSED_IMAGE  # noqa: E402
from bag_support import definition_of  # noqa: E402
from bag_support import FORMATS  # noqa: E402
from bag_support import IMAGE  # noqa: E402
from bag_support import OBSERVATION  # noqa: E402
from bag_support import QUERY  # noqa: E402
from bag_support import RESPONSE  # noqa: E402
from bag_support import STRING  # noqa: E402
from lfm_ros.engine.vision.image import encode  # noqa: E402
from lfm_ros.errors import ErrorCode  # noqa: E402
from lfm_ros.errors import LfmError  # noqa: E402
from lfm_ros.replay.bag import Bag  # noqa: E402
from lfm_ros.replay.camera_recording import CameraRecording  # noqa: E402
from lfm_ros.replay.events import Observed  # noqa: E402
from lfm_ros.replay.events import Question  # noqa: E402
from lfm_ros.replay.matching import Asked  # noqa: E402
from lfm_ros.replay.matching import match  # noqa: E402
from lfm_ros.replay.node_recording import NodeRecording  # noqa: E402
from lfm_ros.serving.query import Query  # noqa: E402
from mcap_ros2._dynamic import serialize_dynamic  # noqa: E402
import numpy as np  # noqa: E402


def pixels(value, height=2, width=3):
    return np.full((height, width, 3), value, np.uint8)


def raw_image(value, stamp=0):
    """Return the fields of an Image of one colour."""
    return {'header': {'stamp': {'sec': stamp}}, 'width': 3, 'height': 2, 'encoding': 'rgb8',
            'step': 9, 'data': list(pixels(value).tobytes())}


def png_image(value, stamp=0):
    """Return the fields of a CompressedImage of one colour."""
    return {'header': {'stamp': {'sec': stamp}}, 'format': 'png',
            'data': list(encode(pixels(value)))}


def header(stamp):
    return {'stamp': {'sec': stamp}}


def questions(recording):
    return [event for event in recording.events() if isinstance(event, Question)]


def shown(question):
    """Return the first value of each image of a question."""
    return [int(image.pixels()[0, 0, 0]) for image in question.query.images]


@pytest.mark.parametrize('storage', FORMATS)
def test_questions_and_observations_come_in_their_order_with_all_fields(tmp_path, storage):
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.write(OBSERVATION, text='The dock is here.', images=[raw_image(9)])
        bag.write(STRING, data='Where?')
        bag.write(QUERY, mission_id='m', request_id='r', prompt='What?', stop=['.'], aside=True,
                  max_tokens=5, timeout=3.0, sampling={'temperature': 0.5, 'seed': 4},
                  tools=[{'name': 'go', 'description': 'Go.', 'parameters': '{}'}],
                  tool_choice='go', tool_results=[{'name': 'go', 'content': '1'}],
                  response_format={'regex': 'a+'}, compressed_images=[png_image(7)],
                  images=[raw_image(6)])
        bag.write(QUERY, raw=True, prompt='a', suffix='b')
        bag.write(OBSERVATION, mission_id='m', text='Last.')
    recording = NodeRecording(Bag(bag.path))
    first, prompt, asked, raw, last = recording.events()
    assert (recording.count, recording.notices) == (3, [])
    assert (first.before, first.mission_id, first.text) == (0, 'default', 'The dock is here.')
    assert int(first.images[0].pixels()[0, 0, 0]) == 9
    assert (prompt.number, prompt.query) == (0, Query('Where?'))
    query = asked.query
    assert (query.mission_id, query.request_id, query.prompt, query.stop) == \
        ('m', 'r', 'What?', ('.',))
    assert (query.aside, query.max_tokens, query.timeout, query.tool_choice) == \
        (True, 5, 3.0, 'go')
    assert (query.sampling['temperature'], query.sampling['seed']) == (0.5, 4)
    assert (query.tools[0].name, query.results[0].content) == ('go', '1')
    assert (query.response_format.regex, shown(asked)) == ('a+', [6, 7])
    assert (raw.query.raw, raw.query.suffix) == (True, 'b')
    assert (last.before, last.mission_id) == (3, 'm')
    assert [event.number for event in (prompt, asked, raw)] == [0, 1, 2]
    assert len(list(recording.events())) == 5, 'it can be read again'


def answers(asked, responses):
    found, lost = match(
        [Asked(*each) for each in asked],
        [(number, SimpleNamespace(request_id=r, mission_id=m, image_headers=[], number=number))
         for number, (r, m) in enumerate(responses)])
    return [each and each.response.number for each in found], lost


@pytest.mark.parametrize('asked, responses, expected, lost', [
    ([('a', 'm'), ('b', 'm')], [('b', 'm'), ('a', 'm')], [1, 0], 0),
    ([('a', 'm'), ('a', 'm')], [('a', 'm'), ('a', 'm')], [0, 1], 0),
    ([('', 'm'), ('', 'n'), ('', 'm')], [('x', 'n'), ('y', 'm'), ('z', 'm')], [1, 0, 2], 0),
    ([('a', 'm'), ('', 'm')], [('x', 'm'), ('a', 'm')], [1, 0], 0),
    ([('a', 'm'), ('', 'm')], [('a', 'm')], [0, None], 0),
    ([('b', 'm')], [('a', 'm'), ('b', 'm'), ('b', 'm')], [1], 2),
    ([], [], [], 0)])
def test_each_question_has_its_own_answer(asked, responses, expected, lost):
    assert answers(asked, responses) == (expected, lost)


def test_answers_without_questions_and_unreadable_messages_are_told(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(RESPONSE, request_id='before', text='x')
        bag.write(QUERY, request_id='a', prompt='What?')
        bag.write_raw(QUERY, '/lfm/query', b'\0\1\0\0abc')
        bag.write(RESPONSE, request_id='a', text='This.')
    recording = NodeRecording(Bag(bag.path))
    question, = recording.events()
    assert question.recorded.text == 'This.'
    assert [notice.split(' has ')[1].split(' messages')[0] for notice in recording.notices] == \
        ['1', '1']


@pytest.mark.parametrize('kind, fields', [(IMAGE, raw_image), (COMPRESSED_IMAGE, png_image)])
def test_a_question_about_the_camera_gets_the_frame_that_was_looked_at(tmp_path, kind, fields):
    with BagWriter(tmp_path / 'bag') as bag:
        for number in range(3):
            bag.write(kind, **fields(number, stamp=number))
        bag.write(QUERY, request_id='a', prompt='Old?', use_camera=True)
        bag.write(QUERY, request_id='b', prompt='New?', use_camera=True, images=[raw_image(99)])
        bag.write(OBSERVATION, text='It waits for the question before it.')
        bag.write(kind, **fields(3, stamp=3))
        bag.write(RESPONSE, request_id='a', image_headers=[header(1)])
        bag.write(RESPONSE, request_id='b', image_headers=[header(0), header(3)])
        bag.write(kind, **fields(4, stamp=4))
    old, new, observed = NodeRecording(Bag(bag.path)).events()
    assert (shown(old), shown(new)) == ([1], [99, 3])
    assert isinstance(observed, Observed) and observed.before == 2
    assert old.error is new.error is None


def test_a_frame_may_be_looked_at_twice(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(IMAGE, **raw_image(5, stamp=1))
        for name in 'ab':
            bag.write(QUERY, request_id=name, prompt='What?', use_camera=True)
            bag.write(RESPONSE, request_id=name, image_headers=[header(1)])
    assert [shown(q) for q in NodeRecording(Bag(bag.path)).events()] == [[5], [5]]


@pytest.mark.parametrize('headers, words', [([header(7)], 'does not have it'),
                                            ([], 'nothing tells')])
def test_a_question_about_a_frame_that_was_not_recorded_has_an_error(tmp_path, headers, words):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(IMAGE, **raw_image(5, stamp=1))
        bag.write(QUERY, request_id='a', prompt='What?', use_camera=True)
        bag.write(RESPONSE, request_id='a', image_headers=headers)
        for _ in range(3):
            bag.write(QUERY, prompt='And now?')
    question, *others = NodeRecording(Bag(bag.path)).events()
    assert question.error.code == ErrorCode.NO_CAMERA_FRAME and words in question.error.message
    assert [other.error for other in others] == [None] * 3


def test_an_image_that_contradicts_itself_is_the_error_of_its_question(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(QUERY, prompt='What?', images=[{**raw_image(1), 'step': 2}])
        bag.write(OBSERVATION, text='This.', images=[{**raw_image(1), 'width': 0}])
    for event in NodeRecording(Bag(bag.path)).events():
        assert event.error.code == ErrorCode.INVALID_IMAGE


def test_of_several_nodes_one_is_chosen(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        for name in ('/a/lfm', '/b/lfm'):
            bag.write(QUERY, f'{name}/query', request_id='1', prompt=name)
            bag.write(RESPONSE, f'{name}/response', request_id='1', text=f'I am {name}.')
        bag.write(STRING, '/other/prompt', data='This is for somebody else.')
        bag.write(STRING, '/b/lfm/prompt', data='This is not.')
    with pytest.raises(LfmError, match='/a/lfm, /b/lfm: choose one of them by --node'):
        NodeRecording(Bag(bag.path))
    found = questions(NodeRecording(Bag(bag.path), '/b/lfm'))
    assert [q.query.prompt for q in found] == ['/b/lfm', 'This is not.']
    assert found[0].recorded.text == 'I am /b/lfm.'
    with pytest.raises(LfmError, match='the node /c'):
        NodeRecording(Bag(bag.path), '/c')


def test_topics_that_were_remapped_are_known_by_their_types(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(QUERY, '/ask_robot', request_id='1', prompt='What?')
        bag.write(RESPONSE, '/robot/says', request_id='1', text='This.')
    question, = NodeRecording(Bag(bag.path)).events()
    assert question.recorded.text == 'This.'


@pytest.mark.parametrize('storage', FORMATS)
@pytest.mark.parametrize('kind, fields', [(IMAGE, raw_image), (COMPRESSED_IMAGE, png_image)])
@pytest.mark.parametrize('every, expected', [
    (0, [0, 1, 2, 3, 4, 5, 6]), (1.5, [0, 2, 4, 6]), (3.0, [0, 3, 6]), (60, [0])])
def test_a_frame_of_any_camera_is_taken_every_few_seconds(tmp_path, storage, kind, fields, every,
                                                          expected):
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for number in range(7):
            bag.write(kind, '/cam', **fields(number))
            bag.write_raw(STRING, '/other', b'', time=1)
            bag._seconds -= 1
    recording = CameraRecording(Bag(bag.path), '/cam', Query('What?', max_tokens=3), every)
    found = questions(recording)
    assert [shown(q) for q in found] == [[number] for number in expected]
    assert [q.number for q in found] == list(range(len(expected)))
    assert recording.count == len(expected)
    assert all((q.query.prompt, q.query.max_tokens, q.query.aside) == ('What?', 3, True)
               for q in found)


@pytest.mark.parametrize('make, words', [
    (lambda bag: bag.write(STRING, '/talk', data='x'), '/talk (std_msgs/msg/String)'),
    (lambda bag: bag.write(STRING, '/cam', data='x'), 'name one of sensor_msgs/msg/Image'),
    (lambda bag: None, 'no topics at all')])
def test_a_topic_without_a_camera_is_refused_with_those_that_there_are(tmp_path, make, words):
    with BagWriter(tmp_path / 'bag') as bag:
        make(bag)
    with pytest.raises(LfmError) as caught:
        CameraRecording(Bag(bag.path), '/cam', Query('What?'))
    assert caught.value.code == ErrorCode.INVALID_VALUE and words in caught.value.message


@pytest.mark.parametrize('storage', FORMATS)
def test_a_bag_without_questions_names_its_topics_and_the_way_out(tmp_path, storage):
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.write(IMAGE, **raw_image(1))
    with pytest.raises(LfmError, match=r'/camera/image_raw \(sensor_msgs/msg/Image\)') as caught:
        NodeRecording(Bag(bag.path))
    assert '--topic' in caught.value.message


def test_a_bag_that_cannot_be_read_at_all_says_why(tmp_path):
    (tmp_path / 'bag.mcap').write_bytes(b'something')
    with pytest.raises(LfmError, match='is damaged'):
        NodeRecording(Bag(tmp_path / 'bag.mcap'))


@pytest.mark.parametrize('encoding', ['cbor', 'ros1'])
def test_an_unknown_encoding_of_messages_is_named(tmp_path, encoding):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(QUERY, serialization=encoding, prompt='What?')
    with pytest.raises(LfmError, match=f"encoded as '{encoding}'") as caught:
        NodeRecording(Bag(bag.path))
    assert caught.value.code == ErrorCode.UNSUPPORTED


@pytest.mark.parametrize('kind, field', [(QUERY, 'suffix'), (RESPONSE, 'tool_calls')])
def test_messages_of_a_version_that_lacks_a_field_are_refused(tmp_path, monkeypatch, kind, field):
    whole = definition_of(kind)
    older = '\n'.join(line for line in whole.splitlines() if f' {field}' not in line)
    monkeypatch.setattr(bag_support, 'definition_of', lambda name: older)
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write_raw(kind, '/lfm/any', serialize_dynamic(kind, older)[kind]({'prompt': 'What?'}))
    with pytest.raises(LfmError, match=f'another version, without {field}') as caught:
        NodeRecording(Bag(bag.path))
    assert caught.value.code == ErrorCode.UNSUPPORTED
