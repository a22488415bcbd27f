# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model that hangs: the turn is undone, or the process ends and the next one remembers."""
from collections.abc import Iterator
from pathlib import Path
import signal
import time

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lfm_ros import msg
from lfm_ros.node.main import HUNG
from node_client import Client
from node_client import result_of
from node_support import DEADLINE
from node_support import ROOT
from node_support import running_node
import pytest

R = msg.Response
HUNG_NODE = (str(ROOT / 'test' / 'support' / 'hung_node.py'),)
TIMEOUT = 1.0  # seconds
PAD = 'and a few more words, so that several calls read the prompt'


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node whose model hangs when told to."""
    with running_node(program=HUNG_NODE, model__prefill_chunk=16,
                      model__run_timeout=TIMEOUT) as client:
        yield client


@pytest.mark.parametrize('way', ['service', 'action'])
@pytest.mark.parametrize('call', [2, 8])
def test_a_turn_that_hangs_is_undone_and_the_next_is_answered(
        client: Client, way: str, call: int) -> None:
    mission, twin = f'{call} {way}', f'twin {call} {way}'
    for name in (mission, twin):
        client.ask('remember this', mission_id=name, max_tokens=5)
    prompt = f'(hang {call}) {PAD}'
    if way == 'service':
        response = client.ask(prompt, mission_id=mission, max_tokens=30)
    else:
        status, response = client.generate(prompt, mission_id=mission, max_tokens=30).end()
        assert status == GoalStatus.STATUS_ABORTED
    assert (response.error_code, response.finish_reason) == (R.MODEL_HUNG, R.FINISH_ERROR)
    found, wanted = (client.missions()[m] for m in (mission, twin))
    assert (found.turns, found.tokens) == (wanted.turns, wanted.tokens)
    answers = [client.ask('what was it', mission_id=m, max_tokens=15) for m in (mission, twin)]
    assert answers[0].error_code == R.NONE and answers[0].text == answers[1].text


def test_the_node_answers_others_while_a_call_hangs(client: Client) -> None:
    goal = client.generate('(hang 1)', mission_id='hangs', max_tokens=5)
    goal.accept()
    start = time.monotonic()
    assert client.get_state() == 'active' and client.missions()['hangs'].turns == 0
    assert time.monotonic() - start < TIMEOUT
    assert goal.end()[1].error_code == R.MODEL_HUNG
    assert 'hangs' not in client.missions()


def test_after_a_call_that_never_ends_the_process_ends_and_the_next_one_remembers(
        tmp_path: Path) -> None:
    wanted = {}
    with running_node() as client:  # one that was never interrupted
        wanted['first'] = client.ask('What?', mission_id='kept', max_tokens=12).text
        wanted['next'] = client.ask('Go on.', mission_id='kept', max_tokens=12).text
    with running_node(program=HUNG_NODE, check_end=False, missions__dir=tmp_path,
                      model__run_timeout=TIMEOUT) as client:
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        responses = client.subscribe(R, '~/response')
        first = client.ask('What?', mission_id='kept', max_tokens=12)
        assert first.text == wanted['first']
        goal = client.generate('(freeze 3) Go on.', mission_id='kept', max_tokens=12)
        goal.accept()
        client.publisher(msg.Query, '~/query').publish(
            msg.Query(prompt='?', mission_id='waits', request_id='waits'))
        waiting = client.ask_later('And?', mission_id='kept')
        status, response = goal.end()
        assert (status, response.error_code) == (GoalStatus.STATUS_ABORTED, R.MODEL_HUNG)
        assert result_of(waiting, 'answer').response.error_code == R.MODEL_HUNG
        assert responses.wait(lambda r: r.request_id == 'waits')[0].error_code == R.MODEL_HUNG
        told = diagnostics.wait(lambda d: d.status[0].level == DiagnosticStatus.ERROR)[0]
        assert told.status[0].message == response.error_msg
        node = client.node_process
        assert node.process.wait(DEADLINE) == HUNG
        said = [line for line in node.log.splitlines() if 'FATAL' in line]
        assert len(said) == 1 and response.error_msg in said[0]
        assert 'Traceback' not in node.log
    with running_node(missions__dir=tmp_path) as client:
        assert client.missions()['kept'].turns == 1
        assert 'waits' not in client.missions()
        again = client.ask('Go on.', mission_id='kept', max_tokens=12)
        assert (again.error_code, again.text) == (R.NONE, wanted['next'])


def test_when_the_thread_of_the_model_ends_everybody_is_told_and_the_process_ends(
        tmp_path: Path) -> None:
    with running_node(program=HUNG_NODE, check_end=False, missions__dir=tmp_path) as client:
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        first = client.ask('What?', mission_id='kept', max_tokens=12)
        status, response = client.generate('(end) Go on.', mission_id='kept').end()
        assert (status, response.error_code) == (GoalStatus.STATUS_ABORTED, R.MODEL_HUNG)
        assert 'no way on' in response.error_msg
        told = diagnostics.wait(lambda d: d.status[0].level == DiagnosticStatus.ERROR)[0]
        assert told.status[0].message == response.error_msg
        assert client.node_process.process.wait(DEADLINE) == HUNG
    with running_node(missions__dir=tmp_path) as client:
        assert client.missions()['kept'].turns == 1 and first.text


def test_a_deactivation_does_not_wait_for_a_call_that_never_ends(tmp_path: Path) -> None:
    with running_node(program=HUNG_NODE, check_end=False, missions__dir=tmp_path,
                      model__run_timeout=TIMEOUT) as client:
        goal = client.generate('(freeze 2) go', max_tokens=12)
        goal.accept()
        client.wait_status(lambda s: bool(s.running_request_id))
        assert client.change_state('deactivate')
        assert goal.end()[1].error_code == R.MODEL_HUNG
        assert client.node_process.process.wait(DEADLINE) == HUNG


def test_a_signal_ends_the_node_although_a_call_never_ends() -> None:
    with running_node(program=HUNG_NODE, check_end=False, model__run_timeout=TIMEOUT) as client:
        goal = client.generate('(freeze 2) go', max_tokens=12)
        goal.accept()
        client.wait_status(lambda s: bool(s.running_request_id))
        node = client.node_process
        node.process.send_signal(signal.SIGINT)
        assert goal.end()[1].error_code == R.MODEL_HUNG
        assert node.process.wait(DEADLINE) == HUNG
        assert 'Traceback' not in node.log
