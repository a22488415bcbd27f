# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a real node was asked is recorded from its topics and replayed: the answers are equal."""
import json

import pytest

pytest.importorskip('mcap_ros2', reason='recordings need mcap-ros2-support')

from bag_support import BagWriter  # noqa: E402, I100
from bag_support import FORMATS  # noqa: E402
from lfm_ros import msg  # noqa: E402
from lfm_ros.cli.main import main  # noqa: E402
from node_client import DEEP  # noqa: E402
from node_client import Inbox  # noqa: E402
from node_client import query  # noqa: E402
from node_support import needs_demo_model  # noqa: E402
from node_support import ROOT  # noqa: E402
from node_support import running_node  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

pytestmark = needs_demo_model

TOPICS = {'~/query': (msg.Query, 'lfm_ros/msg/Query'),
          '~/prompt': (String, 'std_msgs/msg/String'),
          '~/observe': (msg.Observation, 'lfm_ros/msg/Observation'),
          '~/response': (msg.Response, 'lfm_ros/msg/Response'),
          '~/image': (Image, 'sensor_msgs/msg/Image')}
PLACES = ('dock', 'door', 'kitchen')
SCHEMA = json.dumps({'type': 'object', 'properties': {'open': {'type': 'boolean'}},
                     'required': ['open'], 'additionalProperties': False})


class Recorder:
    """Records topics of a node as they come, serialized, in one order."""

    def __init__(self, client):
        self.inbox = Inbox()
        for name, (kind, _) in TOPICS.items():
            client._in_thread(lambda kind=kind, name=name: client.node.create_subscription(
                kind, client.full(name), lambda data, name=name: self.inbox.put((name, data)),
                DEEP, raw=True))

    def wait(self, name, count):
        """Wait for so many messages of a topic."""
        self.inbox.wait(lambda message: message[0] == name, count)

    def write(self, path, storage):
        """Write what came into a bag."""
        with BagWriter(path, storage) as bag:
            for name, data in self.inbox.messages:
                bag.write_raw(TOPICS[name][1], name.replace('~', '/lfm'), bytes(data))
        return path


def talk(client, recorder):
    """Talk with a node on its topics, one thing after the other; return how many questions."""
    publish = {name: client.publisher(kind, name).publish for name, (kind, _) in TOPICS.items()
               if name not in ('~/response', '~/image')}
    picture = CompressedImage(format='png')
    picture.data.frombytes((ROOT / 'examples' / 'scene.png').read_bytes())
    questions = [query(f'Where is the {place}?', mission_id='ab'[number % 2])
                 for number, place in enumerate(PLACES)]
    questions += [
        query('What do you see?', mission_id='a', request_id='mine', compressed_images=[picture]),
        query('Is the door open?', mission_id='b',
              response_format=msg.ResponseFormat(json_schema=SCHEMA)),
        query('What do you see?', mission_id='camera', use_camera=True),
        query('Stop.', mission_id='c', tool_choice='required', tools=[
            msg.Tool(name='stop', description='Stop the robot.')]),
        query('', mission_id='a')]
    for number, place in enumerate(PLACES):
        publish['~/observe'](msg.Observation(
            mission_id='ab'[number % 2], text=f'The {place} is at waypoint {number}.'))
    recorder.wait('~/observe', len(PLACES))
    camera = client._in_thread(lambda: client.node.create_publisher(
        Image, client.full('~/image'), DEEP))
    frame = Image(width=64, height=48, step=192, encoding='rgb8')
    frame.data.frombytes(bytes([255, 0, 0] * 64 * 48))
    frame.header.stamp = client.node.get_clock().now().to_msg()
    for number, question in enumerate(questions):
        publish['~/query'](question)
        if question.use_camera:
            client.wait_until(lambda: camera.get_subscription_count() > 1, 'camera of the node')
            frame.header.stamp = client.node.get_clock().now().to_msg()
            camera.publish(frame)
        recorder.wait('~/response', number + 1)
    publish['~/prompt'](String(data='hello'))
    recorder.wait('~/response', len(questions) + 1)
    recorder.wait('~/query', len(questions))
    recorder.wait('~/prompt', 1)
    return len(questions) + 1


@pytest.fixture(scope='module')
def recorded():
    """Return what a node was asked, and how many questions that were."""
    with running_node(model='', model__path='demo', model__threads=1,
                      image__wait=30.0) as client:
        recorder = Recorder(client)
        yield recorder, talk(client, recorder)


@pytest.mark.parametrize('storage', FORMATS)
def test_a_recorded_run_of_a_node_is_replayed_with_equal_answers(tmp_path, capsys, recorded,
                                                                 storage):
    recorder, count = recorded
    bag, out = recorder.write(tmp_path / 'bag', storage), tmp_path / 'out'
    assert main(['replay', str(bag), 'demo', '--threads', '1', '--out', str(out)]) == 0, \
        capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line['verdict'] for line in lines] == ['equal'] * count
    texts = [line['recorded']['text'] for line in lines]
    assert texts[0] == 'The dock is at waypoint 0.'
    by_mission = {line['mission_id']: line for line in lines}
    assert by_mission['camera']['now']['usage']['image_tokens'] > 0
    assert by_mission['c']['now']['tool_calls'][0]['name'] == 'stop'
    assert sum(line['now']['valid_form'] is True for line in lines) == 1
