# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The examples do what they say, as programs of their own beside a running node."""
from collections.abc import Iterator
import os
from pathlib import Path
import re
import subprocess
import sys

from ament_index_python.packages import get_package_prefix
from node_client import Client
from node_support import needs_demo_model
from node_support import ROOT
from node_support import running_node
import pytest

pytestmark = needs_demo_model


@pytest.fixture(scope='module')
def server() -> Iterator[Client]:
    """Give a client of a node with the embedded model."""
    with running_node(model='', model__path='demo') as client:
        yield client


def transcript(server: Client, name: str, *arguments: str) -> str:
    """Run an example as a user would, and return what it prints."""
    env = dict(os.environ, ROS_DOMAIN_ID=str(server.node_process.domain), PYTHONPATH=str(ROOT))
    return output([sys.executable, ROOT / 'examples' / name, *arguments], env)


def output(command: list, env: dict[str, str]) -> str:
    """Run a command that must not fail, and return what it prints."""
    result = subprocess.run(command, env=env, timeout=120, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, '')
    print(result.stdout)
    return result.stdout


def test_the_mission_log_knows_what_happened_last_and_what_it_was_never_told(
        server: Client) -> None:
    text = transcript(server, 'mission_log.py')
    assert re.findall('^model: (.*?)  ', text, re.MULTILINE) == [
        'The pump is at waypoint 12.', 'The battery is at 34 percent.',
        'I do not know where the ladder is.']


def test_the_camera_is_looked_at_once_and_remembered(server: Client) -> None:
    text = transcript(server, 'camera_question.py')
    assert 'model: I see a red circle and a blue square.  [looked at: camera]' in text
    assert 'model: The square is blue.  [looked at: nothing' in text


def test_the_planner_takes_what_can_be_done_and_refuses_the_rest(server: Client) -> None:
    text = transcript(server, 'planner.py')
    assert re.findall('^(?:plan|check): +(.*)', text, re.MULTILINE) == [
        "{'action': 'navigate', 'waypoint': 12, 'speed': 0.5}", 'can be done',
        "{'action': 'wait', 'seconds': 20}", 'can be done',
        "{'action': 'navigate', 'waypoint': 99}", 'refused, waypoint 99 is not on the map']


def test_the_robot_is_driven_by_the_calls_of_the_model(server: Client) -> None:
    text = transcript(server, 'tool_robot.py', 'Go to waypoint 12 and take a picture.')
    assert re.findall('^(?:model|robot): (.*)', text, re.MULTILINE) == [
        'drives to waypoint 12', 'takes a picture', 'I am at waypoint 12. I took a picture.',
        'is at waypoint 12']


def test_the_model_says_what_the_robot_could_not_do(server: Client) -> None:
    text = transcript(server, 'tool_robot.py', 'Drive to waypoint 3.')
    assert 'model: I could not do it: the way to waypoint 3 is blocked.' in text


def test_the_leaf_succeeds_for_the_true_answer_only(server: Client) -> None:
    text = transcript(server, 'behavior_tree_leaf.py')
    assert re.findall(r'(waypoint \d+)\? (\w+)', text) == [
        ('waypoint 12', 'SUCCESS'), ('waypoint 7', 'FAILURE')]


def test_every_example_is_a_command_of_ros2_run(server: Client) -> None:
    programs = Path(get_package_prefix('lfm_ros')) / 'lib' / 'lfm_ros'
    for file in (ROOT / 'examples').glob('*.py'):
        assert os.access(programs / f'lfm_{file.stem}', os.X_OK), file.stem
    env = dict(os.environ, ROS_DOMAIN_ID=str(server.node_process.domain))
    assert 'model: I see a red circle' in output([programs / 'lfm_camera_question'], env)
