# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm top`: a real node, a terminal that is none, and what a view says of any status."""
from collections.abc import Iterator
import io
import json
import signal
import subprocess
import sys
from types import SimpleNamespace

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from lfm_ros.cli.top.view import duration
from lfm_ros.cli.top.view import size
from lfm_ros.cli.top.view import View
from lfm_ros.msg import MissionStatus
from lfm_ros.msg import Status
from lfm_ros.srv import GetModelInfo
from node_client import Client
from node_support import claim_domain
from node_support import running_node
import pytest
from rich.console import Console
from support import assert_one_line
from support import command
from support import environment
from support import WAIT
from terminal import Terminal

LONG_TEXT = 'a name that is much too long for a terminal of eighty columns and goes on'


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node with two missions."""
    with running_node() as client:
        for mission in ('default', LONG_TEXT):
            assert not client.ask('what?', mission_id=mission, max_tokens=5).error_code
        client.ask('', mission_id='default')
        client.wait_status(lambda s: s.failed == 1)
        yield client


def top(domain: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `lfm top` in a ROS domain, into a pipe."""
    return ended(begun(domain, *arguments))


def begun(domain: int, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command('top', *arguments), env=variables(domain), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    with process:
        try:
            out, err = process.communicate(timeout=WAIT)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def variables(domain: int) -> dict[str, str]:
    return {**environment(), 'ROS_DOMAIN_ID': str(domain), 'COLUMNS': '80', 'LINES': '24'}


def watching(client: Client, **more: str) -> Terminal:
    """Return a terminal on which the view of a node is drawn."""
    return Terminal('top', env={**variables(client.node_process.domain), **more})


def test_one_view_has_all_that_the_node_tells(client: Client) -> None:
    done = top(client.node_process.domain, '--once')
    assert (done.returncode, done.stderr) == (0, '')
    for text in ('/lfm', 'lfm2', 'active', '0 of 8 wait', '3, 1 failed', 'missions end with',
                 'tokens/s', 'OK', 'default', LONG_TEXT[:20]):
        assert text in done.stdout, text
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert '\x1b' not in done.stdout and '…' in done.stdout


def test_json_has_the_fields_of_the_messages(client: Client) -> None:
    done = top(client.node_process.domain, '--json')
    assert (done.returncode, done.stderr) == (0, '')
    found = json.loads(done.stdout)
    assert found['node'] == '/lfm'
    assert set(found['status']) == set(Status.get_fields_and_field_types())
    assert {m['mission_id']: m['turns'] for m in found['status']['missions']} == {
        'default': 1, LONG_TEXT: 1}
    assert found['diagnostics']['level'] == 'OK'
    assert found['diagnostics']['values']['model'] == 'lfm2'


def test_a_node_that_is_not_there_is_named_with_what_to_do(client: Client) -> None:
    domain, claim = claim_domain()
    with claim:  # both wait for a while
        here, there = begun(client.node_process.domain, '--node', 'robot/lfm', '--json'), \
            begun(domain)
        done, other = ended(there), ended(here)
    assert (done.returncode, done.stdout) == (1, '')
    assert_one_line(done.stderr, 'no node /lfm', 'ROS_DOMAIN_ID', '--node')
    assert other.returncode == 1 and json.loads(other.stdout)['error_code'] == 205
    assert_one_line(other.stderr, 'no node /robot/lfm', 'there is /lfm')
    done = top(client.node_process.domain, '--node', 'a b')
    assert done.returncode == 2
    assert_one_line(done.stderr, "'a b'")


@pytest.mark.parametrize('missing, advice', [('rclpy', 'setup file'), ('rich', 'pip install')])
def test_what_is_not_installed_is_named(missing: str, advice: str) -> None:
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.modules["{missing}"] = None\n'
         'from lfm_ros.cli.main import main; sys.exit(main(["top"]))'],
        env=environment(), capture_output=True, text=True, timeout=WAIT)
    assert (done.returncode, done.stdout) == (1, '')
    assert_one_line(done.stderr, 'lfm top', missing, advice)


def test_the_view_goes_on_says_that_the_node_is_gone_and_ends_with_ctrl_c() -> None:
    with running_node() as client, watching(client) as terminal:
        terminal.read_until('active', 'no missions')
        client.ask('hello', mission_id='seen', max_tokens=2)
        terminal.read_until('seen')
        client.node_process.process.send_signal(signal.SIGSTOP)
        terminal.read_until('no status for')
        client.node_process.process.send_signal(signal.SIGCONT)
        terminal.read_until('active')
        client.node_process.stop()
        terminal.read_until('the node is gone')
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(WAIT) == 0
        terminal.read_until('\x1b[?25h', '\x1b[?1049l')  # the cursor, the screen before
    assert 'Traceback' not in terminal.text


def drawn(status: Status, diagnostics: DiagnosticStatus | None = None, failure: str = '',
          height: int = 24, width: int = 80) -> str:
    """Return what a live view looks like on a terminal."""
    view = View(SimpleNamespace(name='/lfm', status=status, diagnostics=diagnostics,
                                failure=failure))  # type: ignore[arg-type]
    screen = io.StringIO()
    view._console = Console(file=screen, width=width, height=height, highlight=False)
    shown = view._live
    shown.update = lambda what, refresh: view._console.print(what)  # type: ignore
    view.refresh()
    return screen.getvalue()


def test_q_ends_the_view_and_leaves_the_terminal_as_it_was(client: Client) -> None:
    with watching(client) as terminal:
        terminal.read_until('q quits', 'default')
        terminal.type('x')
        terminal.type('q')
        assert terminal.process.wait(WAIT) == 0
        assert terminal.echoes


def test_the_limit_of_a_mission_stands_beside_its_tokens(client: Client) -> None:
    done = top(client.node_process.domain, '--once')
    line, = (line.split() for line in done.stdout.splitlines() if line.startswith('default '))
    tokens, limit = map(int, line[2].split('/'))
    assert tokens == client.missions()['default'].tokens
    assert limit == client.call(GetModelInfo, '~/model_info').context_length


def test_the_speed_is_told_to_be_that_of_the_last_answer() -> None:
    def line(**fields: object) -> list[str]:
        return next(line.split() for line in drawn(Status(state='active', **fields)).splitlines()
                    if line.startswith(('speed', 'last answer')))

    assert line(tokens_per_second=12.0, running_request_id='r') == ['speed', '12.0', 'tokens/s']
    assert line(tokens_per_second=12.0) == ['last', 'answer', '12.0', 'tokens/s']
    assert line() == ['last', 'answer', 'none']


@pytest.mark.parametrize('width, heads', [
    (80, ['turns', 'tokens', 'pending', 'memory', 'stored', 'idle']),
    (60, ['turns', 'tokens', 'memory', 'stored', 'idle']),
    (50, ['turns', 'tokens', 'memory', 'idle']),
    (45, ['tokens', 'memory', 'idle']), (32, ['tokens', 'idle'])])
def test_a_narrow_terminal_has_fewer_columns_and_no_number_is_cut(
        width: int, heads: list[str]) -> None:
    cells = {'turns': '1234', 'tokens': '123456/128000', 'pending': '1234', 'memory': '123.0 MB',
             'stored': '999.0 MB', 'idle': '10 min'}
    missions = [MissionStatus(mission_id='a mission with a long name', turns=1234, tokens=123_456,
                              pending_tokens=1234, bytes=123_000_000, resident=True,
                              stored_bytes=999_000_000, idle_seconds=600.0)]
    text = drawn(Status(state='active', missions=missions), DiagnosticStatus(
        level=DiagnosticStatus.OK, values=[KeyValue(key='context length', value='128000')]),
        width=width)
    *_, head, row = text.splitlines()
    assert head.split() == ['mission', *heads] and max(map(len, text.splitlines())) <= width
    assert row.endswith('  '.join(cells[name].rjust(len(name)) for name in heads))
    assert row.startswith('a miss')


def test_a_mission_that_was_put_aside_and_pending_tokens_are_told() -> None:
    missions = [MissionStatus(mission_id='m', turns=3, tokens=1200, pending_tokens=7, bytes=0,
                              stored_bytes=29_000_000, idle_seconds=600.0)]
    text = drawn(Status(state='active', missions=missions, state_bytes_limit=100_000_000))
    assert text.splitlines()[-1].split() == [
        'm', '3', '1200', '7', 'aside', '29.0', 'MB', '10', 'min']
    assert '0 B of 100.0 MB' in text


def test_missions_for_which_there_is_no_line_are_counted() -> None:
    missions = [MissionStatus(mission_id=f'm{n}', idle_seconds=float(n)) for n in range(40)]
    lines = drawn(Status(state='active', missions=missions), height=15).splitlines()
    assert len(lines) == 15
    assert lines[-2].startswith('m4') and lines[-1] == 'and 35 more'


def test_what_is_wrong_is_told() -> None:
    status = Status(state='inactive', durability_error='the disk is full: make room')
    text = drawn(status, DiagnosticStatus(level=DiagnosticStatus.WARN, message='take care'),
                 'the node is gone: no status for 4 s')
    for part in ('the disk is full', 'WARN', 'take care', 'the node is gone', 'gone or silent'):
        assert part in text
    assert 'no diagnostics' in drawn(status)


def test_text_from_outside_cannot_act_on_the_terminal() -> None:
    text = drawn(Status(state='active', running_request_id='[red]\x1b[2J\x07\n'))
    assert '\x1b' not in text and '\x07' not in text and '[red]' in text


def test_sizes_and_times_are_written_for_people() -> None:
    assert [size(n) for n in (0, 999, 24_576, 999_999, 5_000_000_000_000)] == [
        '0 B', '999 B', '24.6 kB', '1.0 MB', '5000.0 GB']
    assert [duration(s) for s in (0.4, 59, 60, 7200, 200_000)] == [
        '0 s', '59 s', '1 min', '2 h', '2 d']
