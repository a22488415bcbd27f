# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests that are given up: in the queue, in the prompt, in the answer, by dying clients."""
from collections.abc import Iterator
import os
import random
import subprocess
import sys

from action_msgs.msg import GoalStatus
from lfm_ros import msg
from node_client import Client
from node_support import ODD_NODE
from node_support import ROOT
from node_support import running_node
import pytest

R = msg.Response
LONG_TEXT = 'x' * 300  # some hundred tokens, of which one call reads two

DYING_CLIENT = """
from lfm_ros.action import Generate
from lfm_ros.client.reliable_client import wait_until_known
from lfm_ros.msg import Query
from lfm_ros.srv import Ask
import rclpy
from rclpy.action import ActionClient
import sys
rclpy.init()
node = rclpy.create_node('dying')
client = ActionClient(node, Generate, '/lfm/generate')
ask = node.create_client(Ask, '/lfm/ask')
assert client.wait_for_server(30) and ask.wait_for_service(30)
assert wait_until_known(node, '/lfm', 30)  # what is sent then arrives at once
query = Query(prompt='(slow 10) from a dying client', mission_id='dying', max_tokens=30)
ask.call_async(Ask.Request(query=query))
goal = client.send_goal_async(Generate.Goal(query=query), lambda f: None)
rclpy.spin_until_future_complete(node, goal)
print('accepted', flush=True)
rclpy.spin_until_future_complete(node, goal.result().get_result_async())
"""


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node that reads prompts slowly if told to."""
    with running_node(program=ODD_NODE, model__prefill_chunk=2, queue__size=100) as client:
        yield client


def assert_like_a_twin(client: Client, mission: str) -> None:
    """Check that a mission is as one that had only its first turn."""
    client.ask('remember this', mission_id='twin of ' + mission, max_tokens=8)
    found, wanted = (client.missions()[m] for m in (mission, 'twin of ' + mission))
    assert (found.turns, found.tokens) == (wanted.turns, wanted.tokens)
    texts = {client.ask('what was it', mission_id=m, max_tokens=20).text
             for m in (mission, 'twin of ' + mission)}
    assert len(texts) == 1


@pytest.mark.parametrize('prompt, where', [
    ('(slow 20) go', 'answer'), ('(slow 20)' + LONG_TEXT, 'prompt')])
def test_a_cancelled_turn_leaves_no_trace(client: Client, prompt: str, where: str) -> None:
    client.ask('remember this', mission_id=where, max_tokens=8)
    goal = client.generate(prompt, mission_id=where, request_id=where, max_tokens=100)
    if where == 'answer':
        goal.deltas.wait(count=3)
    else:
        client.ask('(slow 1)', mission_id='other', max_tokens=1, timeout=0.05)
    assert goal.cancel()
    seen = len(goal.deltas.messages)
    status, response = goal.end()
    assert status == GoalStatus.STATUS_CANCELED
    assert (response.error_code, response.finish_reason) == (R.CANCELLED, R.FINISH_CANCELLED)
    written = [p for p in goal.deltas.messages[seen:] if p.text]
    assert len(written) <= 1
    assert (response.text != '') == (where == 'answer')
    assert (response.usage.generated_tokens > 0) == (where == 'answer')
    assert_like_a_twin(client, where)


def test_a_goal_is_cancelled_while_it_waits(client: Client) -> None:
    running = client.generate('(slow 20)', mission_id='running', max_tokens=50)
    running.deltas.wait()
    waiting = client.generate('hello', mission_id='never begun', max_tokens=50)
    assert waiting.cancel()
    status, response = waiting.end()
    assert (status, response.error_code) == (GoalStatus.STATUS_CANCELED, R.CANCELLED)
    assert not waiting.deltas.messages and response.usage.generated_tokens == 0
    assert running.response().usage.generated_tokens == 50
    assert 'never begun' not in client.missions()


def test_a_cancel_after_the_end_changes_nothing(client: Client) -> None:
    goal = client.generate('hello', mission_id='ended', max_tokens=3)
    text = goal.response().text
    assert not goal.cancel()
    assert goal.response().text == text
    assert client.missions()['ended'].turns == 1


def test_many_goals_with_random_cancels_end_once_each(client: Client) -> None:
    chance = random.Random(1)
    before = client.wait_status(lambda s: True, len(client.status.messages) - 1)
    goals = [client.generate(f'(slow {chance.randrange(3)}) hello', mission_id=f'm{i % 4}',
                             request_id=f'goal {i}', max_tokens=10) for i in range(50)]
    cancelled = []
    for goal in chance.sample(goals, 50):
        if chance.random() < 0.5:
            goal.cancel()
            cancelled.append(goal)
    turns = 0
    for number, goal in enumerate(goals):
        status, response = goal.end()
        assert response.request_id == f'goal {number}'
        if status == GoalStatus.STATUS_SUCCEEDED:
            assert response.error_code == R.NONE
            turns += 1
        else:
            assert status == GoalStatus.STATUS_CANCELED and goal in cancelled
            assert response.error_code == R.CANCELLED
    assert sum(client.missions()[f'm{i}'].turns for i in range(4)
               if f'm{i}' in client.missions()) == turns
    client.wait_status(lambda s: s.answered == before.answered + 50,
                       len(client.status.messages) - 1)


def test_a_client_that_dies_leaves_the_node_at_work(client: Client) -> None:
    env = dict(os.environ, ROS_DOMAIN_ID=str(client.node_process.domain), PYTHONPATH=str(ROOT))
    for _ in range(2):
        dying = subprocess.Popen([sys.executable, '-c', DYING_CLIENT], env=env,
                                 stdout=subprocess.PIPE, text=True)
        try:
            assert dying.stdout is not None
            assert dying.stdout.readline() == 'accepted\n'
        finally:
            dying.kill()
            dying.wait()
        assert client.ask('(slow 1)', mission_id='alive', max_tokens=10).error_code == R.NONE
    # Nobody cancelled them.
    client.wait_until(lambda: client.missions()['dying'].turns == 4, 'end of all four turns')
