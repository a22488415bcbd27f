# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Nothing that comes in can crash the node, make it leak, or leave its queue stuck.

``LFM_ROS_FUZZ=10000`` sends that many requests instead of the few of every test run.
"""
from collections.abc import Callable
from collections.abc import Iterator
import os
from pathlib import Path
import random
from typing import Any

from fuzz_support import changed_bytes
from fuzz_support import random_message
from fuzz_support import random_query
from fuzz_support import SERVICES
from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import DEADLINE
from node_client import result_of
from node_support import running_node
import pytest
from std_msgs.msg import String

COUNT = int(os.environ.get('LFM_ROS_FUZZ', '400'))
SEED = int(os.environ.get('LFM_ROS_FUZZ_SEED', '1'))
BATCH = 40
MOST_GROWTH = 40 << 20  # bytes of RSS, after the first quarter
R = msg.Response

Topic = tuple[Any, Callable[[random.Random], Any]]  # a publisher, and what makes a message


@pytest.fixture(scope='module')
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Give a client of a node that keeps missions, few of them and for a short time."""
    folder: Path = tmp_path_factory.mktemp('missions')
    with running_node(missions__dir=folder, missions__max_count=20, queue__size=100,
                      missions__overflow='forget', queue__timeout=20.0) as client:
        yield client


def rss(client: Client) -> int:
    """Return the resident memory of the node."""
    count = len(client.status.messages)
    return client.status.wait(start=count)[0].rss_bytes


def open_topics(client: Client) -> list[Topic]:
    """Return a publisher of each topic and what makes its messages."""
    return [(client.publisher(msg.Query, '~/query'), random_query),
            (client.publisher(msg.Observation, '~/observe'),
             lambda c: random_message(msg.Observation, c)),
            (client.publisher(String, '~/prompt'), lambda c: random_message(String, c, 0.0))]


def send_batch(client: Client, topics: list[Topic], chance: random.Random, number: int) -> None:
    """Send a batch in every way, and see that all that must be answered is answered."""
    futures, goals = [], []
    for turn in range(BATCH):
        way = chance.random()
        if way < 0.4:
            name = chance.choice(['ask', *SERVICES])
            kind = SERVICES[name]
            request = random_message(kind.Request, chance)
            if name == 'ask':
                request.query = random_query(chance)
            futures.append((name, client.call_async(kind, f'~/{name}', request)))
        elif way < 0.5:
            goals.append(client.generate_query(random_query(chance)))
        else:
            publisher, make = chance.choice(topics)
            message = make(chance)
            publisher.publish(changed_bytes(message, chance) if chance.random() < 0.6
                              else message)
    for name, future in futures:
        reply = result_of(future, f'answer of {name} in batch {number}')
        response = getattr(reply, 'response', reply)
        message = getattr(response, 'error_msg', '')
        assert '\n' not in message and len(message) < 2000, message
        assert getattr(response, 'error_code', 0) != R.INTERNAL, message
    for goal in goals:
        assert goal.end()[1].error_code != R.INTERNAL


def test_odd_requests_are_all_answered_and_the_node_is_as_before(client: Client) -> None:
    chance = random.Random(SEED)
    topics = open_topics(client)  # once: a node remembers every publisher that there is
    early = 0
    for number in range(COUNT // BATCH):
        send_batch(client, topics, chance, number)
        assert client.node_process.process.poll() is None, client.node_process.log[-3000:]
        if number == COUNT // BATCH // 4:
            early = rss(client)
    status = client.wait_status(
        lambda s: not s.queue_length and not s.running_request_id, len(client.status.messages) - 1)
    assert status.state == 'active'
    assert rss(client) - early < MOST_GROWTH
    print(f'{COUNT} requests: RSS {early >> 20} -> {rss(client) >> 20} MB, '
          f'{status.answered} answered, {status.failed} of them refused')
    for mission in client.missions():
        client.call(srv.DeleteMission, '~/missions/delete',
                    srv.DeleteMission.Request(mission_id=mission), DEADLINE)
    assert client.ask('hello', max_tokens=2).error_code == R.NONE
    assert 'Traceback' not in client.node_process.log
