# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 lfm`, where ros2cli is installed."""
from collections.abc import Iterator
from configparser import ConfigParser
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

from node_client import Client
from node_support import DEADLINE
from node_support import ODD_NODE
from node_support import running_node
import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = (sys.executable, '-c', 'import sys; from ros2cli.cli import main; sys.exit(main())', 'lfm')


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node, where there is a command that could reach it."""
    pytest.importorskip('ros2cli', reason='ros2cli is not installed (the ROS 2 wheels lack it; '
                        'it comes with an installed ROS 2)')
    with running_node(program=ODD_NODE) as client:
        yield client


def variables(client: Client) -> dict[str, str]:
    return {**os.environ, 'ROS_DOMAIN_ID': str(client.node_process.domain)}


def ros2_lfm(client: Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ros2 lfm` in the domain of the node."""
    return subprocess.run([*RUN, *arguments], env=variables(client), capture_output=True,
                          encoding='utf-8', errors='replace', timeout=DEADLINE)


def test_entry_points_name_what_exists() -> None:
    points = ConfigParser(delimiters='=')
    points.optionxform = str  # type: ignore[assignment, method-assign]
    points.read(ROOT / 'entry_points.txt')
    for group in points.sections():
        for place in points[group].values():
            module, name = place.split(':')
            text = (ROOT / module.replace('.', '/')).with_suffix('.py').read_text()
            assert re.search(rf'^(class|def) {name}\b', text, re.MULTILINE), place
    made = re.search(r'foreach\(entry ([^)]*)\)', (ROOT / 'CMakeLists.txt').read_text())
    assert made and set(made[1].replace('"', '').split()) == {
        f'{name}={place.split(":")[0]}' for name, place in points['console_scripts'].items()}


def test_a_question_is_answered_by_the_mission_that_observed(client: Client) -> None:
    told = ros2_lfm(client, 'observe', 'the battery is at 34 %', '--mission', 'm')
    assert (told.returncode, told.stdout, told.stderr) == (0, '', '')
    client.wait_status(lambda s: any(m.mission_id == 'm' and m.tokens > 5 for m in s.missions))
    answer = ros2_lfm(client, 'ask', 'what now', '--mission', 'm', '--node', 'lfm')
    assert answer.returncode == 0 and answer.stdout.strip() and not answer.stderr
    assert client.missions()['m'].turns == 1


def test_missions_are_listed_and_changed(client: Client) -> None:
    client.ask('hello', mission_id='one', max_tokens=2)
    for arguments in (('fork', 'one', 'two'), ('rewind', 'two', '0'), ('reset', 'one')):
        done = ros2_lfm(client, 'missions', *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert {n: m.turns for n, m in client.missions().items() if n in ('one', 'two')} == {
        'one': 0, 'two': 0}
    listed = ros2_lfm(client, 'missions', 'list').stdout.splitlines()
    assert listed[0].split()[:3] == ['mission', 'turns', 'tokens']
    assert {'one', 'two'} <= {line.split()[0] for line in listed[1:]}
    assert ros2_lfm(client, 'missions', 'delete', 'one').returncode == 0
    assert 'one' not in client.missions()


def test_what_cannot_be_done_is_said_in_one_sentence(client: Client) -> None:
    for arguments, text in ((('ask', ' '), '[100]'), (('missions', 'delete', 'never'), '[107]'),
                            (('missions', 'save', 'never'), '['),
                            (('missions', 'delete', 'a\udcff'), 'ROS cannot carry as text'),
                            (('ask', 'x', '--node', '/nobody'), 'no node /nobody')):
        done = ros2_lfm(client, *arguments)
        assert (done.returncode, done.stdout) == (1, ''), done
        assert text in done.stderr and len(done.stderr.splitlines()) == 1
    assert ros2_lfm(client, 'missions', 'rewind', 'm', '-1').returncode == 2


def test_ctrl_c_cancels_the_answer(client: Client) -> None:
    start = len(client.status.messages)
    asking = subprocess.Popen([*RUN, 'ask', '(slow 50) go on', '--mission', 'slow'],
                              env=variables(client), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    client.wait_status(lambda s: bool(s.running_request_id), start)
    asking.send_signal(signal.SIGINT)
    _, said = asking.communicate(timeout=DEADLINE)
    assert asking.returncode == 1 and b'[204]' in said
    client.wait_status(lambda s: not s.running_request_id, len(client.status.messages) - 1)
    assert client.missions().get('slow') is None or client.missions()['slow'].turns == 0


def test_top_shows_the_node(client: Client) -> None:
    done = ros2_lfm(client, 'top', '--once')
    assert done.returncode == 0 and 'lfm2' in done.stdout and 'active' in done.stdout
    done = ros2_lfm(client, 'top', '--node', '/nobody', '--json')
    assert done.returncode == 1 and 'no node /nobody' in done.stderr
