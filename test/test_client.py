# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The client for other Python nodes, in both ways of spinning."""
from collections.abc import Iterator
import threading

from lfm_ros.client import LfmClient
from lfm_ros.msg import Response
from lfm_ros.msg import Token
from node_client import Client
from node_support import running_node
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node


@pytest.fixture(scope='module')
def server() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


@pytest.fixture(params=['spun by the client', 'spun by an executor in another thread'])
def user(server: Client, request: pytest.FixtureRequest) -> Iterator[LfmClient]:
    """Give an LfmClient of a node of the user's own, in the default context."""
    rclpy.init(domain_id=server.node_process.domain)
    node = rclpy.create_node('user')
    executor = SingleThreadedExecutor()
    thread = threading.Thread(target=executor.spin)
    client = LfmClient(node)  # rclpy adds an action client to its node before it is whole
    if 'executor' in request.param:
        executor.add_node(node)
        thread.start()
    client.wait()
    yield client
    executor.shutdown()
    if thread.ident:
        thread.join()
    node.destroy_node()
    rclpy.shutdown()


def test_blocking_calls_follow_each_other(user: LfmClient) -> None:
    user.ask('hello', mission_id='m', max_tokens=2)
    assert user.ask('hello again', mission_id='m', max_tokens=2).usage.cached_tokens > 0
    assert 'm' in [m.mission_id for m in user.missions()]
    user.fork('m', 'n')
    user.rewind(1, 'n')
    user.reset('m')
    assert {m.mission_id: m.turns for m in user.missions()} == {'m': 0, 'n': 1}
    user.delete('m')
    user.delete('n')
    assert user.missions() == []


def test_a_refused_operation_raises_with_code_and_sentence(user: LfmClient) -> None:
    with pytest.raises(RuntimeError, match=r'\[107\] there is no mission'):
        user.delete('never')


def test_pieces_of_a_generation_add_up_to_its_text(user: LfmClient) -> None:
    pieces: list[Token] = []
    response = user.generate('go on', on_token=pieces.append, max_tokens=20).result()
    assert ''.join(p.text for p in pieces) == response.text


def test_a_cancelled_generation_says_so(user: LfmClient) -> None:
    generation = user.generate('go on', max_tokens=400, stop=['never written'])
    generation.cancel()
    assert generation.result().finish_reason in (
        Response.FINISH_CANCELLED, Response.FINISH_STOP, Response.FINISH_CONTEXT)


def test_a_missing_node_is_named() -> None:
    context = Context()
    rclpy.init(context=context)
    node = Node('lonely', context=context)
    with pytest.raises(TimeoutError, match='/nobody'):
        LfmClient(node, '/nobody').wait(0.1)
    node.destroy_node()
    rclpy.shutdown(context=context)
