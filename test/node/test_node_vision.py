# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images in messages and from a camera reach the model; bad ones are refused with the reason."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
import subprocess
import sys
from typing import Any

from camera import picture
from camera import to_compressed
from camera import to_image
from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import LATCHED
from node_client import query
from node_client import result_of
from node_support import DEADLINE
from node_support import MODELS
from node_support import ROOT
from node_support import running_node
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2
from vision_support import png_of

R = msg.Response
SEEING = MODELS / 'vision' / 'lfm2-vl-past-conv'
SMALL = picture(96, 64)
RAW, COMPRESSED = '/lfm/image', '/lfm/image/compressed'
BRIEF = {'aside': True, 'max_tokens': 4, 'mission_id': 'camera'}


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node that sees."""
    with running_node(model='', model__path=SEEING, image__wait=20.0) as client:
        yield client


@contextmanager
def camera(client: Client, *arguments: str) -> Iterator[None]:
    """Publish frames from a process of its own."""
    env = dict(os.environ, ROS_DOMAIN_ID=str(client.node_process.domain), PYTHONPATH=str(ROOT))
    file = ROOT / 'test' / 'support' / 'camera.py'
    process = subprocess.Popen([sys.executable, str(file), *arguments], env=env)
    try:
        yield
    finally:
        # One that is killed would count as a publisher for 20 s, and the next test with it.
        process.terminate()
        process.wait(DEADLINE)


def age(response: msg.Response) -> float:
    """Return how many seconds lie between the frame and the answer."""
    frame, answer = response.image_headers[-1].stamp, response.header.stamp
    return answer.sec - frame.sec + (answer.nanosec - frame.nanosec) / 1e9


def test_an_image_in_a_message_is_looked_at(client: Client) -> None:
    image = to_image(SMALL)
    image.header.frame_id = 'arm_camera'
    image.header.stamp.sec = 77
    response = client.ask('What is this?', images=[image], mission_id='one')
    assert (response.error_code, response.usage.image_tiles) == (R.NONE, 1)
    assert 4 <= response.usage.image_tokens <= 16
    assert response.usage.image_tokens < response.usage.prompt_tokens
    assert 0 < response.usage.image_seconds <= response.usage.time_to_first_token
    assert [(h.frame_id, h.stamp.sec) for h in response.image_headers] == [('arm_camera', 77)]


def test_a_question_about_an_image_that_was_seen_costs_no_image_work(client: Client) -> None:
    client.ask('What is this?', images=[to_image(SMALL)], mission_id='two')
    usage = client.ask('And this?', mission_id='two').usage
    assert (usage.image_tokens, usage.image_tiles, usage.image_seconds) == (0, 0, 0)


def test_raw_and_compressed_images_show_the_same(client: Client) -> None:
    forms = {'images': [to_image(SMALL)]}, {'compressed_images': [to_compressed(SMALL, 'PNG')]}
    answers = [client.ask('What is this?', aside=True, **form) for form in forms]
    assert answers[0].text == answers[1].text
    assert answers[0].usage.image_tokens == answers[1].usage.image_tokens


def test_headers_of_several_images_come_back_in_their_order(client: Client) -> None:
    images = [to_image(SMALL), to_compressed(picture(200, 96)), to_image(picture(64, 64, 9))]
    for number, image in enumerate(images):
        image.header.frame_id = str(number)
    response = client.ask('Which?', images=[images[0], images[2]],
                          compressed_images=[images[1]], aside=True)
    assert response.usage.image_tiles >= 3
    assert [h.frame_id for h in response.image_headers] == ['0', '2', '1']


def test_images_come_by_action_and_by_topic(client: Client) -> None:
    wanted = client.ask('What?', images=[to_image(SMALL)], mission_id='a').text
    goal = client.generate('What?', images=[to_image(SMALL)], mission_id='b')
    assert goal.response().text == wanted
    responses = client.subscribe(msg.Response, '~/response')
    client.publisher(msg.Query, '~/query').publish(
        query('What?', images=[to_image(SMALL)], mission_id='c', request_id='by topic'))
    found = responses.wait(lambda r: r.request_id == 'by topic')[0]
    assert (found.text, len(found.image_headers)) == (wanted, 1)


def test_an_observation_may_carry_images(client: Client) -> None:
    client.publisher(msg.Observation, '~/observe').publish(msg.Observation(
        mission_id='seen', text='Seen at the door.', images=[to_image(SMALL)]))
    client.wait_until(lambda: 'seen' in client.missions() and
                      not client.missions()['seen'].pending_tokens, 'an observation that is read')
    assert client.missions()['seen'].tokens > 10
    assert client.ask('What was it?', mission_id='seen').usage.image_tokens == 0


def test_an_image_placeholder_in_text_is_text(client: Client) -> None:
    response = client.ask('<|image_start|><image><|image_end|> What is this?', mission_id='typed')
    assert (response.error_code, response.usage.image_tokens) == (R.NONE, 0)


def test_the_node_tells_that_its_model_sees(client: Client) -> None:
    info = client.call(srv.GetModelInfo, '~/model_info')
    assert info.vision and info.image_tokens == 16


# bad images

def spoiled(**fields: Any) -> Image:
    """Return a raw image with other fields."""
    image = to_image(SMALL)
    for name, value in fields.items():
        setattr(image, name, value)
    return image


def file(data: bytes) -> CompressedImage:
    """Return a compressed image with these bytes."""
    message = CompressedImage(format='jpeg')
    message.data.frombytes(data)
    return message


JPEG = bytes(to_compressed(picture(320, 240)).data)
BAD = {
    'of zero size': ({'images': [Image()]}, R.INVALID_IMAGE, '0 x 0'),
    'with a step smaller than a row': (
        {'images': [spoiled(step=100)]}, R.INVALID_IMAGE, 'step is 100'),
    'with data shorter than its rows': (
        {'images': [spoiled(height=97)]}, R.INVALID_IMAGE, 'bytes of data'),
    'in an unknown encoding': (
        {'images': [spoiled(encoding='h264')]}, R.INVALID_IMAGE, "'h264'"),
    'of distances in metres': (
        {'images': [spoiled(encoding='32FC1', step=4 * 96)]}, R.INVALID_IMAGE, '16UC1'),
    'that is a video': (
        {'compressed_images': [CompressedImage(format='h264', data=b'1' * 99)]}, R.INVALID_IMAGE,
        "'h264'"),
    'that is a truncated JPEG': (
        {'compressed_images': [file(JPEG[:-100])]}, R.INVALID_IMAGE, 'damaged or cut off'),
    'that is no picture': (
        {'compressed_images': [file(b'hello')]}, R.INVALID_IMAGE, 'neither JPEG nor PNG'),
    'that is empty': ({'compressed_images': [CompressedImage()]}, R.INVALID_IMAGE, 'empty'),
    'that claims 100,000 x 100,000 pixels': (
        {'compressed_images': [file(png_of(100_000, 100_000))]}, R.INVALID_IMAGE, 'million'),
    'that is too long and thin': (
        {'images': [to_image(np.zeros((2, 4000, 3), np.uint8))]}, R.INVALID_IMAGE, 'thin'),
    'twenty times': ({'images': [to_image(SMALL)] * 20}, R.INVALID_VALUE, '20 images'),
    'fifteen times, in tiles': (
        {'images': [to_image(picture(400, 200))] * 15}, R.PROMPT_TOO_LONG, 'smaller images'),
}


@pytest.mark.parametrize('name', BAD)
def test_an_image_is_refused_with_the_reason(client: Client, name: str) -> None:
    fields, code, words = BAD[name]
    before = set(client.missions())
    response = client.ask('What is this?', mission_id='bad', **fields)
    assert (response.error_code, response.finish_reason) == (code, R.FINISH_ERROR)
    assert words in response.error_msg and '\n' not in response.error_msg
    assert set(client.missions()) == before
    assert client.ask('hello', mission_id='bad', aside=True).error_code == R.NONE


def test_a_text_model_refuses_an_image_and_tells_what_sees() -> None:
    with running_node() as client:
        for fields in ({'images': [to_image(SMALL)]}, {'use_camera': True}):
            response = client.ask('What is this?', **fields)
            assert response.error_code == R.NO_VISION and 'LFM2-VL' in response.error_msg
        lost = client.subscribe(msg.Status, '~/status')
        client.publisher(msg.Observation, '~/observe').publish(
            msg.Observation(text='x', images=[to_image(SMALL)]))
        lost.wait()
        assert client.ask('hello').error_code == R.NONE


# the camera

@pytest.mark.parametrize('topic, arguments', [
    (RAW, ()), (RAW, ('--best-effort', '--size', '320x240')), (COMPRESSED, ('--compressed',)),
    (COMPRESSED, ('--compressed', '--best-effort'))], ids=str)
def test_a_question_looks_through_the_camera(
        client: Client, topic: str, arguments: tuple[str, ...]) -> None:
    with camera(client, topic, *arguments):
        for _ in range(3):
            response = client.ask('What do you see?', use_camera=True, **BRIEF)
            assert response.error_code == R.NONE, response.error_msg
            assert response.usage.image_tokens and len(response.image_headers) == 1
            assert response.image_headers[0].frame_id == 'camera_optical_frame'
            assert 0 <= age(response) < DEADLINE


def test_a_camera_that_comes_later_is_waited_for(client: Client) -> None:
    client.wait_until(lambda: not client.node.count_publishers(RAW), 'no camera')
    future = client.ask_later('What do you see?', use_camera=True, **BRIEF)
    other = client.ask('hello', mission_id='other', timeout=20.0)
    with camera(client, RAW, '--size', '64x64'):
        response = result_of(future, 'answer').response
    assert response.error_code == R.NONE, response.error_msg
    assert other.error_code == R.NONE


def test_images_of_a_message_and_of_the_camera_are_looked_at_together(client: Client) -> None:
    with camera(client, RAW, '--size', '64x64'):
        response = client.ask('Same?', images=[to_image(SMALL)], use_camera=True, **BRIEF)
    assert [h.frame_id for h in response.image_headers] == ['', 'camera_optical_frame']


def test_waiting_for_a_camera_ends_when_it_is_cancelled_or_the_node_deactivated() -> None:
    with running_node(model='', model__path=SEEING, image__wait=1000.0) as client:
        goal = client.generate('What do you see?', use_camera=True, request_id='cancelled')
        client.wait_status(lambda s: s.queue_length == 1)
        assert goal.cancel()
        assert goal.end()[1].error_code == R.CANCELLED
        future = client.ask_later('What do you see?', use_camera=True, request_id='waits')
        client.wait_status(lambda s: s.queue_length == 1, start=len(client.status.messages))
        assert client.change_state('deactivate')
        response = result_of(future, 'answer').response
        assert response.error_code == R.CANCELLED
        assert response.error_msg.endswith(': activate it and ask again')
        assert client.change_state('activate')
        future = client.ask_later('What do you see?', use_camera=True, request_id='ends')
        client.wait_status(lambda s: s.queue_length == 1, start=len(client.status.messages))
        client.node_process.stop()
        response = result_of(future, 'answer').response
        assert response.error_code == R.CANCELLED
        assert response.error_msg.endswith(': start it and ask again')


def test_a_frame_that_is_too_old_is_refused_with_its_age() -> None:
    with running_node(model='', model__path=SEEING, image__wait=3.0) as client, \
            camera(client, RAW, '--age', '100', '--size', '64x64'):
        client.wait_until(lambda: client.node.count_publishers(RAW) > 0, 'a camera')
        response = client.ask('What do you see?', use_camera=True)
        assert response.error_code == R.STALE_IMAGE
        assert ' 100.' in response.error_msg and 'image.max_age' in response.error_msg
        response = client.ask('What do you see?')
        assert response.error_code == R.NONE


def test_no_camera_is_told_with_the_topics_that_were_looked_at() -> None:
    with running_node('-r', '~/image:=/front/image_raw', model='', model__path=SEEING,
                      image__wait=0.2) as client:
        response = client.ask('What do you see?', use_camera=True)
        assert response.error_code == R.NO_CAMERA_FRAME
        assert '/front/image_raw (no publisher)' in response.error_msg


def test_the_camera_is_only_subscribed_to_while_it_is_used() -> None:
    with running_node(model='', model__path=SEEING, image__camera_keep_alive=0.2,
                      image__wait=20.0) as client:
        publisher = client.node.create_publisher(Image, RAW, 1)
        assert client.node.count_subscribers(RAW) == 0
        future = client.ask_later('What do you see?', use_camera=True)
        client.wait_until(lambda: client.node.count_subscribers(RAW) == 1, 'a subscription')
        message = to_image(SMALL)
        message.header.stamp = client.node.get_clock().now().to_msg()
        client.wait_until(lambda: publisher.get_subscription_count() == 1, 'a match')
        publisher.publish(message)
        assert result_of(future, 'answer').response.error_code == R.NONE
        client.wait_until(lambda: client.node.count_subscribers(RAW) == 0, 'no subscription')


@pytest.mark.parametrize('seconds', [-1, -2**31, 2**31 - 1])
def test_a_camera_whose_clock_is_wrong_does_not_end_the_node(seconds: int) -> None:
    with running_node(model='', model__path=SEEING, image__wait=1.0,
                      image__camera_keep_alive=-1.0) as client:
        publisher = client.node.create_publisher(Image, RAW, 1)
        client.wait_until(lambda: publisher.get_subscription_count() == 1, 'a subscription')
        message = to_image(SMALL)
        message.header.stamp.sec = seconds
        publisher.publish(message)
        response = client.ask('What do you see?', use_camera=True)
        assert response.error_code in (R.NONE, R.STALE_IMAGE, R.NO_CAMERA_FRAME)
        assert client.ask('hello').error_code == R.NONE


def test_a_compressed_topic_on_which_nothing_comes_does_not_hide_the_raw_one() -> None:
    with running_node(model='', model__path=SEEING, image__wait=6.0) as client, \
            camera(client, RAW, '--size', '64x64'):
        client.node.create_publisher(CompressedImage, COMPRESSED, 1)
        client.wait_until(lambda: client.node.count_publishers(RAW) > 0, 'a camera')
        assert client.ask('What do you see?', use_camera=True).error_code == R.NONE


@pytest.mark.parametrize('topic, kind', [(RAW, Image), (COMPRESSED, CompressedImage)])
def test_a_frame_that_was_latched_before_is_seen_by_every_question(topic: str, kind: Any) -> None:
    # It has no stamp, and no other follows: how long ago it came says nothing.
    with running_node(model='', model__path=SEEING, image__wait=20.0,
                      image__max_age=1e-6) as client:
        publisher = client.node.create_publisher(kind, topic, LATCHED)
        publisher.publish(to_image(SMALL) if kind is Image else to_compressed(SMALL))
        for _ in range(3):
            response = client.ask('What do you see?', use_camera=True, **BRIEF)
            assert response.error_code == R.NONE, response.error_msg


def test_a_latched_frame_that_is_too_old_is_refused_with_what_to_set() -> None:
    with running_node(model='', model__path=SEEING, image__wait=2.0) as client:
        publisher = client.node.create_publisher(Image, RAW, LATCHED)
        message = to_image(SMALL)
        message.header.stamp.sec = 77
        publisher.publish(message)
        client.wait_until(lambda: client.node.count_publishers(RAW) == 1, 'a camera')
        response = client.ask('What do you see?', use_camera=True)
        assert response.error_code == R.STALE_IMAGE
        assert 'set image.max_age to 0 if they are published once' in response.error_msg


REMAP = '-r', '~/image:=/front', '-r', '~/image/compressed:=/back'


@pytest.mark.parametrize('topic, kind, words', [
    ('/front', CompressedImage, '/back (no publisher) or /front (1 publisher of sensor_msgs/msg/'
     'CompressedImage, not sensor_msgs/msg/Image): remap ~/image/compressed instead of ~/image '
     'to /front'),
    ('/back', Image, 'remap ~/image instead of ~/image/compressed to /back'),
    ('/front', PointCloud2, '/front (1 publisher of sensor_msgs/msg/PointCloud2, not'),
    ('/front', Image, '/front (1 publisher, no frame since this node subscribed)'),
    ('/back', CompressedImage, '/back (1 publisher, no frame since this node subscribed)')])
def test_why_no_frame_comes_is_told(topic: str, kind: Any, words: str) -> None:
    with running_node(*REMAP, model='', model__path=SEEING, image__wait=2.0) as client:
        client.node.create_publisher(kind, topic, 1)
        client.wait_until(lambda: client.node.count_publishers(topic) == 1, 'a publisher')
        response = client.ask('What do you see?', use_camera=True)
        assert response.error_code == R.NO_CAMERA_FRAME
        assert words in response.error_msg


def test_empty_frames_do_not_hide_the_raw_ones_and_are_named_where_there_are_none() -> None:
    with running_node(model='', model__path=SEEING, image__wait=4.0) as client:
        empty = client.node.create_publisher(CompressedImage, COMPRESSED, LATCHED)
        empty.publish(CompressedImage(format='nv21; jpeg compressed bgr8'))
        client.wait_until(lambda: client.node.count_publishers(COMPRESSED) == 1, 'a camera')
        response = client.ask('What do you see?', use_camera=True)
        assert response.error_code == R.NO_CAMERA_FRAME
        assert '1 publisher, only empty frames' in response.error_msg
        with camera(client, RAW, '--size', '64x64'):
            client.wait_until(lambda: client.node.count_publishers(RAW) == 1, 'a camera')
            response = client.ask('What do you see?', use_camera=True)
            assert response.error_code == R.NONE, response.error_msg


def test_what_was_done_to_an_image_of_sixteen_bits_is_logged(client: Client) -> None:
    depth = np.linspace(500, 4000, 96 * 64).astype('<u2').reshape(64, 96)
    image = Image(height=64, width=96, encoding='16UC1', step=192)
    image.data.frombytes(depth.tobytes())
    response = client.ask('How far?', images=[image], **BRIEF)
    assert response.error_code == R.NONE, response.error_msg
    client.wait_until(lambda: 'set image.mono16_range' in client.node_process.log, 'a line')
    assert '534 as black and 3964 as white' in client.node_process.log


def test_with_a_range_images_of_sixteen_bits_show_what_their_upper_bits_do() -> None:
    with running_node(model='', model__path=SEEING, image__mono16_range='[0, 1023]') as client:
        wide = Image(height=64, width=96, encoding='mono16', step=192)
        wide.data.frombytes((SMALL[:, :, 0].astype('<u2') << 2).tobytes())
        grey = Image(height=64, width=96, encoding='mono8', step=96)
        grey.data.frombytes(SMALL[:, :, 0].tobytes())
        answers = [client.ask('What?', images=[i], **BRIEF).text for i in (wide, grey)]
        assert answers[0] == answers[1]
        assert 'mono16_range' not in client.node_process.log


@pytest.mark.parametrize('durability', [DurabilityPolicy.TRANSIENT_LOCAL,
                                        DurabilityPolicy.VOLATILE])
def test_a_camera_is_met_with_the_reliability_and_durability_that_it_offers(
        durability: DurabilityPolicy) -> None:
    with running_node(model='', model__path=SEEING, image__camera_keep_alive=-1.0) as client:
        for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
            publisher = client.node.create_publisher(Image, RAW, QoSProfile(
                depth=1, reliability=reliability, durability=durability))

            def met(wanted: ReliabilityPolicy = reliability) -> bool:
                profiles = [i.qos_profile for i in
                            client.node.get_subscriptions_info_by_topic(RAW)]
                return [(p.reliability, p.durability) for p in profiles] == [(wanted, durability)]

            client.wait_until(met, f'a subscription that is {reliability.name}')
            client.node.destroy_publisher(publisher)
