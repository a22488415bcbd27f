# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A GPU that fails: the node says so and answers on the CPU, or undoes the turn."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from gpu_support import CPU
from gpu_support import CUDA
from gpu_support import FAULTS
from gpu_support import TENSORRT
from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.node.main import HUNG
from node_client import Client
from node_client import result_of
from node_support import DEADLINE
from node_support import NodeProcess
from node_support import parameters
from node_support import ROOT
from node_support import running_node
import pytest

R = msg.Response
MODEL = ROOT / 'test' / 'models' / 'lfm2'


def program(fault: str) -> tuple[str, ...]:
    """Return what Python runs for a node whose GPU has this fault."""
    return str(ROOT / 'test' / 'support' / 'gpu_node.py'), fault


def diagnosis(client: Client) -> tuple[DiagnosticStatus, dict[str, str]]:
    """Return what the active node says on /diagnostics."""
    def tells(array: Any) -> bool:
        return any(v.key == 'state' and v.value == 'active' for v in array.status[0].values)
    found = client.subscribe(DiagnosticArray, '/diagnostics').wait(tells)[0].status[0]
    return found, {v.key: v.value for v in found.values}


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node with a GPU that works."""
    with running_node(program=program('none'), model__providers=f'[{CUDA}]',
                      model__prefill_chunk=16) as client:
        yield client


@pytest.mark.parametrize('fault', FAULTS)
def test_a_gpu_that_cannot_be_used_is_named_and_the_cpu_answers(fault: str) -> None:
    with running_node(program=program(fault), model__providers=f'[{CUDA}]') as client:
        assert client.ask('What?', max_tokens=5).error_code == R.NONE
        assert client.call(srv.GetModelInfo, '~/model_info').providers == [CPU]
        found, values = diagnosis(client)
        assert found.level == DiagnosticStatus.WARN and found.message == values['provider']
        assert FAULTS[fault] in found.message and f'runs on {CPU}' in found.message
        warnings = [line for line in client.node_process.log.splitlines() if 'WARN' in line]
        assert len(warnings) == 1 and found.message in warnings[0]


def test_a_gpu_that_works_is_named(client: Client) -> None:
    found, values = diagnosis(client)
    assert (found.level, values['provider']) == (DiagnosticStatus.OK, CUDA)
    assert client.call(srv.GetModelInfo, '~/model_info').providers == [CUDA, CPU]


@pytest.mark.parametrize('call', [1, 3, 6])
def test_a_gpu_that_runs_out_of_memory_undoes_the_turn_and_the_next_one_is_answered(
        client: Client, call: int) -> None:
    mission, twin = f'full {call}', f'twin {call}'
    for name in (mission, twin):
        client.ask('remember this', mission_id=name, max_tokens=5)
    prompt = f'(full {call}) and a few more words, so that several calls read the prompt'
    response = client.ask(prompt, mission_id=mission, max_tokens=30)
    assert (response.error_code, response.finish_reason) == (R.OUT_OF_MEMORY, R.FINISH_ERROR)
    answers = [client.ask('what was it', mission_id=m, max_tokens=15) for m in (mission, twin)]
    assert answers[0].error_code == R.NONE and answers[0].text == answers[1].text
    found, wanted = (client.missions()[m] for m in (mission, twin))
    assert (found.turns, found.tokens) == (wanted.turns, wanted.tokens) and found.turns == 2


@pytest.mark.parametrize('values', [
    {'model__providers': f'[{CUDA}]', 'model__fallback': False},
    {'model__providers': f'[{TENSORRT}]'}], ids=['no fallback', 'a list of none'])
def test_configure_fails_where_nothing_else_may_be_tried(values: dict[str, Any]) -> None:
    node = NodeProcess(*parameters(model__path=MODEL, **values), program=program('library'))
    try:
        with Client(node.domain) as client:
            client.wait_until(lambda: 'configure failed' in node.log, 'the refusal')
            assert f'[{R.PROVIDER_UNAVAILABLE}]' in node.log
            assert client.ask('What?').error_code == R.NOT_ACTIVE
        node.stop()
    finally:
        node.close()


@pytest.mark.parametrize('call', [1, 4])
def test_a_gpu_that_fails_for_good_ends_the_process_and_the_next_one_remembers(
        call: int, tmp_path: Path) -> None:
    with running_node() as client:  # one that was never interrupted
        wanted = [client.ask(prompt, mission_id='kept', max_tokens=12).text
                  for prompt in ('What?', 'Go on.')]
    gpu = {'model__providers': f'[{CUDA}]', 'model__prefill_chunk': 16}
    with running_node(program=program('none'), check_end=False, missions__dir=tmp_path,
                      model__prepare=False, **gpu) as client:
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        assert client.ask('What?', mission_id='kept', max_tokens=12).text == wanted[0]
        goal = client.generate(f'(lost {call}) Go on.', mission_id='kept', max_tokens=12)
        goal.accept()
        waiting = client.ask_later('And?', mission_id='kept')
        status, response = goal.end()
        assert (status, response.error_code) == (GoalStatus.STATUS_ABORTED, R.MODEL_HUNG)
        assert 'the GPU has failed' in response.error_msg
        assert result_of(waiting, 'answer').response.error_code == R.MODEL_HUNG
        told = diagnostics.wait(lambda d: d.status[0].level == DiagnosticStatus.ERROR)[0]
        assert told.status[0].message == response.error_msg
        assert client.node_process.process.wait(DEADLINE) == HUNG
        assert 'Traceback' not in client.node_process.log
    with running_node(missions__dir=tmp_path) as client:
        assert client.missions()['kept'].turns == 1
        again = client.ask('Go on.', mission_id='kept', max_tokens=12)
        assert (again.error_code, again.text) == (R.NONE, wanted[1])


def test_options_for_the_cpu_are_refused_with_a_sentence() -> None:
    node = NodeProcess(*parameters(
        model__path=MODEL, model__provider_options='[device_id=0]', model__providers=f'[{CPU}]'))
    try:
        with Client(node.domain) as client:
            client.wait_until(lambda: 'has no options' in node.log, 'the refusal')
        node.stop()
    finally:
        node.close()
