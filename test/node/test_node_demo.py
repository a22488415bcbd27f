# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model that ships with the package, in the node."""
from collections.abc import Iterator

from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_support import needs_demo_model
from node_support import ROOT
from node_support import running_node
import pytest
from sensor_msgs.msg import CompressedImage

pytestmark = needs_demo_model


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node with the embedded model."""
    with running_node(model='', model__path='demo') as client:
        yield client


def test_the_word_demo_opens_it(client: Client) -> None:
    info = client.call(srv.GetModelInfo, '~/model_info')
    assert (info.error_code, info.name) == (msg.Response.NONE, 'demo')


def test_it_ends_its_answers_in_words_and_by_itself(client: Client) -> None:
    response = client.ask('hello', mission_id='words')
    assert (response.error_code, response.finish_reason) == (
        msg.Response.NONE, msg.Response.FINISH_STOP)
    assert response.text.strip() and '\ufffd' not in response.text


def test_an_observation_changes_what_it_knows(client: Client) -> None:
    observe = client.publisher(msg.Observation, '~/observe')
    observe.publish(msg.Observation(mission_id='seen', text='The battery is at 34 percent.'))
    client.wait_status(lambda s: any(
        m.mission_id == 'seen' and not m.pending_tokens for m in s.missions))
    answer = client.ask('What is the battery level?', mission_id='seen').text
    assert answer != client.ask('What is the battery level?', mission_id='not seen').text


def test_it_sees_and_remembers_what_it_saw(client: Client) -> None:
    scene = CompressedImage(format='png')
    scene.data.frombytes((ROOT / 'examples' / 'scene.png').read_bytes())
    answer = client.ask('What do you see?', mission_id='camera', compressed_images=[scene])
    assert answer.text == 'I see a red circle and a blue square.'
    for text in ('The dock is at waypoint 7.', 'Stop.', 'Thank you.'):
        client.ask(text, mission_id='camera')
    later = client.ask('What colour was the square in the picture?', mission_id='camera')
    assert (later.text, later.usage.image_tokens) == ('The square is blue.', 0)
    assert client.ask('Where is the dock?', mission_id='camera').text == \
        'The dock is at waypoint 7.'
