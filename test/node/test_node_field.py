# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What people report of other systems, tried on this node."""
import signal
import subprocess
import sys

from lfm_ros import msg
from node_client import DEADLINE
from node_support import environment
from node_support import ODD_NODE
from node_support import running_node
import pytest

R = msg.Response
STREAMING = """
import sys, rclpy
from rclpy.action import ActionClient
from lfm_ros import msg
from lfm_ros.action import Generate
rclpy.init()
node = rclpy.create_node('streaming')
client = ActionClient(node, Generate, '/lfm/generate')
client.wait_for_server()
goal = Generate.Goal(query=msg.Query(prompt='(slow 20)', mission_id='left', max_tokens=100))
client.send_goal_async(goal, lambda feedback: print('.', flush=True))
rclpy.spin(node)
"""


def test_time_that_stands_still_holds_nothing_up() -> None:
    # ros/ros_comm #1492, ros2/rclcpp #940: use_sim_time, and nobody publishes /clock
    with running_node('-p', 'use_sim_time:=true') as client:
        answer = client.ask('What?', max_tokens=3, timeout=30.0)
        assert answer.error_code == R.NONE and answer.header.stamp.sec == 0
        assert client.wait_status(lambda s: s.answered == 1).tokens_per_second > 0


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_dies_while_it_listens_disturbs_nobody(number: signal.Signals) -> None:
    # ggml-org/llama.cpp #9928: the server crashed when a connection was interrupted
    with running_node(program=ODD_NODE) as client:
        env = environment(ROS_DOMAIN_ID=str(client.node_process.domain))
        for _ in range(2):
            with subprocess.Popen([sys.executable, '-c', STREAMING], env=env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
                assert other.stdout and other.stdout.readline() == '.\n'
                other.send_signal(number)
                other.wait(DEADLINE)
            assert client.ask('What?', mission_id='mine', max_tokens=3).error_code == R.NONE
        status = client.wait_status(
            lambda s: s.queue_length == 0 and not s.running_request_id and s.answered == 4)
        assert status.failed == 0 and client.missions()['left'].turns == 2
