# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What holds when nothing but the model is said: missions are kept, and memory has a limit."""
from pathlib import Path
import re

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lfm_ros import msg
from lfm_ros import srv
from node_support import running_node
import pytest

R = msg.Response
FAILING = """
import sys
from lfm_ros.node import main, parameters
def fail(node):
    raise ArithmeticError('as told')
setattr(parameters, {name!r}, fail)
sys.exit(main.main())
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder in which ROS keeps things."""
    monkeypatch.setenv('ROS_HOME', str(tmp_path / 'ros'))
    return tmp_path / 'ros'


@pytest.mark.parametrize('arguments, folder', [
    ((), 'lfm'), (('-r', '__ns:=/robot1/arm', '-r', '__node:=model'), 'robot1.arm.model')])
def test_missions_are_kept_in_a_folder_for_the_name_of_the_node(
        home: Path, arguments: tuple[str, ...], folder: str) -> None:
    target = '/' + folder.replace('.', '/')
    for turns in (1, 2):
        with running_node(*arguments, target=target, keeping=True) as client:
            assert client.ask('What?', max_tokens=2).error_code == R.NONE
            assert client.missions()['default'].turns == turns
            assert client.status.messages[-1].durable
    assert [place.name for place in (home / 'lfm_ros' / 'missions').iterdir()] == [folder]
    assert (home / 'lfm_ros' / 'missions' / folder).stat().st_mode & 0o077 == 0


def test_an_empty_folder_switches_that_off(home: Path) -> None:
    with running_node('-p', "missions.dir:=''", keeping=True) as client:
        assert client.ask('What?', max_tokens=2).error_code == R.NONE
        status = client.wait_status(lambda s: bool(s.missions))
        assert not status.durable and not status.durability_error
        saved = client.call(srv.SaveMission, '~/missions/save',
                            srv.SaveMission.Request(mission_id='default'))
        assert saved.error_code == R.STORAGE_FAILED and 'missions.dir' in saved.error_msg
    assert not (home / 'lfm_ros').exists()


def test_a_folder_that_cannot_be_made_is_said_and_used_once_it_can(home: Path) -> None:
    home.mkdir()
    (home / 'lfm_ros').write_text('in the way')
    with running_node(keeping=True) as client:
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        assert client.ask('What?', max_tokens=2).error_code == R.NONE
        status = client.wait_status(lambda s: bool(s.missions))
        assert not status.durable
        assert all(word in status.durability_error for word in (
            'not durable', str(home / 'lfm_ros'), 'missions.dir')), status.durability_error
        client.wait_until(lambda: any(
            found.level == DiagnosticStatus.WARN and found.message == status.durability_error
            for array in diagnostics.messages for found in array.status), 'a warning')
        (home / 'lfm_ros').unlink()
        client.wait_status(lambda s: s.durable)
    with running_node(keeping=True) as client:
        assert client.missions()['default'].turns == 1


def test_the_memory_of_missions_has_a_limit_that_leaves_the_robot_half_of_what_is_free(
        home: Path) -> None:
    with running_node(keeping=True) as client:
        found = re.search(r'memory.budget_mb is (\d+) \(auto\): (\d+) MB are taken .* 50% of the '
                          r'([\d.]+) MB', client.node_process.log)
        assert found
        budget, taken, free = map(float, found.groups())
        assert budget == pytest.approx(taken + free / 2, abs=2)
        limit = client.wait_status(lambda s: s.state == 'active').state_bytes_limit
        assert 0 < limit < free / 2 * 2**20


@pytest.mark.parametrize('name, transition', [
    ('retention_policy', 'configure'), ('model_options', 'configure'), ('camera', 'activate')])
def test_whatever_is_raised_in_a_transition_is_logged_and_said(name: str, transition: str) -> None:
    state = 'unconfigured' if transition == 'configure' else 'inactive'
    model = 'demo' if name == 'camera' else ''
    more = {'model__path': model} if model else {}
    with running_node(program=('-c', FAILING.format(name=name)), state=state, check_end=False,
                      model='' if model else 'lfm2', **more) as client:
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        sentence = 'the transition failed (ArithmeticError: as told): please report this'
        client.wait_until(lambda: any(
            found.level == DiagnosticStatus.ERROR and found.message == sentence
            for array in diagnostics.messages for found in array.status), 'an error')
        assert f'{transition} failed [' in client.node_process.log
        answer = client.ask('What?')
        assert answer.error_code == R.NOT_ACTIVE and sentence in answer.error_msg
