# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The launch file, run as `ros2 launch` runs it; left out where launch is not installed."""
from collections.abc import Iterator
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

from node_client import Client
from node_support import claim_domain
from node_support import DEADLINE
from node_support import MODELS
import pytest

FILE = Path(__file__).resolve().parents[2] / 'launch' / 'lfm.launch.py'
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    sys.argv[1], launch_arguments=[a.split(':=') for a in sys.argv[2:]])]))
sys.exit(service.run())
"""
ARGUMENTS = {'model_path', 'params_file', 'namespace', 'node_name', 'use_sim_time', 'log_level',
             'autostart', 'use_respawn', 'image_topic', 'compressed_image_topic'}


@pytest.fixture
def launched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """Give a client of a node that the launch file started with the arguments of the test."""
    domain, claim = claim_domain()
    file = tmp_path / 'file.yaml'
    file.write_text('/**:\n  ros__parameters:\n    autostart: false\n    use_sim_time: true\n')
    arguments = [f'model_path:={MODELS / "lfm2"}',
                 *(each.replace('FILE', str(file)) for each in request.param)]
    process = subprocess.Popen(
        [sys.executable, '-c', RUN, FILE, *arguments],
        env=dict(os.environ, ROS_DOMAIN_ID=str(domain), ROS_HOME=str(tmp_path / 'ros')))
    try:
        with Client(domain, '/robot/model') as client:
            yield client
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        claim.close()


def test_every_argument_is_described() -> None:
    text = FILE.read_text(encoding='utf-8')
    found = dict(re.findall(r"DeclareLaunchArgument\(\s*'(\w+)',(.*?)description=", text, re.S))
    assert set(found) == ARGUMENTS


NAMED = ('namespace:=robot', 'node_name:=model')


@pytest.mark.parametrize('launched', [NAMED], indirect=True)
def test_the_node_comes_up_by_itself_under_its_name(launched: Client) -> None:
    launched.wait_until(lambda: any(s.state == 'active' for s in launched.status.messages),
                        'state active')
    assert launched.ask('hello', max_tokens=3).error_code == 0


@pytest.mark.parametrize('launched', [NAMED], indirect=True)
def test_its_missions_are_kept(launched: Client) -> None:
    assert launched.wait_status(lambda s: s.state == 'active').durable


@pytest.mark.parametrize('launched', [
    (*NAMED, 'params_file:=FILE', 'autostart:=true', 'use_sim_time:=false')], indirect=True)
def test_an_argument_counts_more_than_the_parameter_file(launched: Client) -> None:
    launched.wait_status(lambda s: s.state == 'active')
    assert launched.ask('hello', max_tokens=3).error_code == 0


@pytest.mark.parametrize('launched', [
    (*NAMED, 'model_path:=' + str(MODELS / 'vision' / 'lfm2-vl-past-conv'),
     'image_topic:=/front/image_raw',
     'compressed_image_topic:=/front/image_raw/compressed')], indirect=True)
def test_the_topics_of_a_camera_are_arguments(launched: Client) -> None:
    launched.wait_status(lambda s: s.state == 'active')
    answer = launched.ask('What is there?', use_camera=True, max_tokens=1)
    assert '/front/image_raw' in answer.error_msg


@pytest.mark.parametrize('launched', [(*NAMED, 'autostart:=false'),
                                      (*NAMED, 'params_file:=FILE')], indirect=True)
def test_autostart_false_leaves_the_node_to_a_manager(launched: Client) -> None:
    launched.wait_until(lambda: bool(launched.status.messages), 'a status')
    assert launched.status.messages[-1].state == 'unconfigured'
