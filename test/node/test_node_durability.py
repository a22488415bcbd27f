# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Missions outlive the node, stay within its budget, and travel as files."""
from pathlib import Path
import random
import re
import signal
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_support import MODELS
from node_support import NodeProcess
from node_support import parameters
from node_support import running_node
from process_tree import descendants
import pytest

R = msg.Response
PROMPTS = ['What?', 'The dock is blue.', 'Where is the red box?', 'Go on.', 'And then?']


def told(client: Client, mission_id: str, first: int, last: int) -> list[str]:
    """Ask the prompts of these numbers; return the answers."""
    answers = [client.ask(PROMPTS[n % len(PROMPTS)], mission_id=mission_id, max_tokens=12)
               for n in range(first, last)]
    assert not any(a.error_code for a in answers), answers
    return [answer.text for answer in answers]


def call(client: Client, name: str, **fields: Any) -> Any:
    """Call a service that looks after missions."""
    kind = {'save': srv.SaveMission, 'export': srv.ExportMission, 'import': srv.ImportMission,
            'rewind': srv.RewindMission}[name]
    return client.call(kind, f'~/missions/{name}', kind.Request(**fields))


def proportional_bytes(pid: int) -> int:
    """Return the resident memory of a process, what it shares with others by its part."""
    rollup = Path(f'/proc/{pid}/smaps_rollup').read_text()
    return 1024 * int(re.findall(r'Pss: +(\d+) kB', rollup)[0])


@pytest.fixture(scope='module')
def twin() -> dict[str, list[str]]:
    """Return the answers of missions whose node was never interrupted."""
    with running_node() as client:
        return {name: told(client, name, 0, 9) for name in ('a', 'b')}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_after_any_end_of_the_node_its_missions_answer_as_if_there_was_none(
        tmp_path: Path, twin: dict[str, list[str]], number: signal.Signals) -> None:
    found: dict[str, list[str]] = {'a': [], 'b': []}
    for first, last in ((0, 2), (2, 5), (5, 9)):
        with running_node(missions__dir=tmp_path, missions__checkpoint_turns=2,
                          check_end=False) as client:
            assert {m.turns for m in client.missions().values()} <= {first}
            killed = bool(first) and number == signal.SIGKILL
            assert ('was killed' in client.node_process.log) is killed
            for name, answers in found.items():
                answers += told(client, name, first, last)
            if number == signal.SIGKILL:
                client.node_process.process.kill()
                client.node_process.process.wait()
            else:
                client.node_process.stop(number)
    assert found == twin


def test_a_kill_in_the_middle_of_an_answer_loses_only_that_turn(
        tmp_path: Path, twin: dict[str, list[str]]) -> None:
    chance, answers = random.Random(3), []
    while len(answers) < 9:
        with running_node(missions__dir=tmp_path, check_end=False) as client:
            known = client.missions().get('a')
            assert (known.turns if known else 0) == len(answers)
            answers += told(client, 'a', len(answers), min(9, len(answers) + 2))
            goal = client.generate('A long one.', mission_id='a', max_tokens=400)
            goal.deltas.wait(count=chance.randint(1, 9))
            client.node_process.process.kill()
            client.node_process.process.wait()
    assert answers == twin['a']


def test_a_rewind_and_an_observation_survive_a_kill(tmp_path: Path) -> None:
    with running_node(missions__dir=tmp_path, check_end=False) as client:
        first = told(client, 'a', 0, 3)
        assert call(client, 'rewind', mission_id='a', turns=1).error_code == R.NONE
        before = client.missions()['a'].tokens
        publisher = client.publisher(msg.Observation, '~/observe')
        publisher.publish(msg.Observation(mission_id='a', text='It is dark.'))
        client.wait_until(lambda: client.missions()['a'].tokens > before, 'the observation')
        assert call(client, 'save', mission_id='a').error_code == R.NONE
        tokens = client.missions()['a'].tokens
        client.node_process.process.kill()
        client.node_process.process.wait()
    with running_node(missions__dir=tmp_path) as client:
        mission = client.missions()['a']
        assert (mission.turns, mission.tokens, mission.resident) == (1, tokens, False)
        assert first[0] and not client.ask('Where?', mission_id='a').error_code


def test_status_and_diagnostics_tell_what_is_kept_where(tmp_path: Path) -> None:
    with running_node(missions__dir=tmp_path) as client:
        told(client, 'a', 0, 2)
        saved = call(client, 'save', mission_id='a')
        assert (saved.error_code, saved.stored_bytes > 0) == (R.NONE, True)
        assert client.missions()['a'].stored_bytes == saved.stored_bytes
        client.wait_until(lambda: client.status.messages[-1].state_bytes_written > 0, 'status')
        status = client.status.messages[-1]
        assert status.durable and not status.durability_error and status.turns_committed == 2
        assert status.stored_bytes >= saved.stored_bytes and status.log_bytes_written > 0
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics').wait()[0]
        values = {v.key: v.value for v in diagnostics.status[0].values}
        assert values['durable'] == 'True' and int(values['bytes written per turn']) > 0
    with running_node() as client:
        assert call(client, 'save').error_code == R.UNKNOWN_MISSION
        told(client, 'default', 0, 1)
        refused = call(client, 'save')
        assert refused.error_code == R.STORAGE_FAILED
        assert refused.error_msg.startswith('missions.dir is not set')
        assert not client.status.messages[-1].durable


def test_a_second_node_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    with running_node(missions__dir=tmp_path) as client:
        second = NodeProcess(*parameters(model__path=MODELS / 'lfm2', missions__dir=tmp_path))
        try:
            with Client(second.domain) as other:
                other.wait_until(lambda: 'configure failed' in second.log, 'the refusal')
            assert f'[{R.MISSIONS_LOCKED}]' in second.log
            assert f'process {client.node_process.process.pid}' in second.log
            second.stop()
        finally:
            second.close()
        told(client, 'a', 0, 1)


def test_a_mission_goes_on_at_another_robot(tmp_path: Path, twin: dict[str, list[str]]) -> None:
    here, there = tmp_path / 'here', tmp_path / 'there'
    with running_node(missions__dir=here) as client:
        told(client, 'a', 0, 5)
        exported = call(client, 'export', mission_id='a')
        assert (exported.error_code, exported.bytes > 1000) == (R.NONE, True)
        assert Path(exported.path) == here / 'exports' / 'a.lfm'
        for bad in ('../a.lfm', '/tmp/a.lfm', 'x/y', '..'):
            refused = call(client, 'export', mission_id='a', file=bad)
            assert refused.error_code == R.INVALID_VALUE and 'folders' in refused.error_msg
    (there / 'exports').mkdir(parents=True)
    (there / 'exports' / 'a.lfm').write_bytes(Path(exported.path).read_bytes())
    with running_node(missions__dir=there) as client:
        imported = call(client, 'import', file='a.lfm', new_mission_id='guest')
        assert (imported.error_code, imported.mission_id) == (R.NONE, 'guest')
        assert client.missions()['guest'].turns == 5
        assert told(client, 'guest', 5, 9) == twin['a'][5:]
        again = call(client, 'import', file='a.lfm', new_mission_id='guest')
        assert again.error_code == R.MISSION_EXISTS
        assert call(client, 'import', file='b.lfm').error_code == R.ARCHIVE_INVALID


def least_budget() -> int:
    """Return the budget that a node asks for when it gets too small a one."""
    node = NodeProcess(*parameters(model__path=MODELS / 'lfm2', memory__budget_mb=20),
                       forked=False)
    try:
        with Client(node.domain) as client:
            client.wait_until(lambda: 'configure failed' in node.log, 'the refusal')
        assert f'[{R.BUDGET_TOO_SMALL}]' in node.log and 'memory.budget_mb is 20' in node.log
        node.stop()
        return int(re.findall(r'set it to (\d+) or more', node.log)[0])
    finally:
        node.close()


def test_missions_take_turns_in_a_budget_that_holds_few_of_them(
        tmp_path: Path, twin: dict[str, list[str]]) -> None:
    budget = least_budget() + 1
    with running_node(missions__dir=tmp_path, memory__budget_mb=budget,
                      forked=False) as client:
        found: dict[str, list[str]] = {f'm{number}': [] for number in range(50)}
        for place in range(3):
            for name, answers in found.items():
                answers += told(client, name, place, place + 1)
        assert all(answers == twin['a'][:3] for answers in found.values())
        client.ask('x', mission_id='m0', max_tokens=1)
        missions = client.missions()
        assert {m.turns for m in missions.values()} == {3, 4}
        assert not all(m.resident for m in missions.values())
        assert all(m.stored_bytes for m in missions.values() if not m.resident)
        status = client.status.messages[-1]
        assert 0 < status.state_bytes <= status.state_bytes_limit
        assert status.rss_bytes <= budget << 20


def test_forms_and_their_processes_stay_within_the_budget(tmp_path: Path) -> None:
    budget = least_budget() + 64  # for the process that compiles forms, and a few of them
    with running_node(missions__dir=tmp_path, memory__budget_mb=budget,
                      forked=False) as client:
        node = client.node_process.process.pid
        for number in range(12):
            response = client.ask('Say it.', mission_id=f'm{number}', max_tokens=20,
                                  response_format=msg.ResponseFormat(regex=f'[ab]{number}'))
            assert response.error_code == R.NONE, response.error_msg
            processes = [node, *(child.pid for child in descendants(node))]
            assert len(processes) > 2
            assert sum(map(proportional_bytes, processes)) <= budget << 20
        hostile = '((a{1000}){1000}){1000}'  # takes more than there is
        response = client.ask('Say it.', response_format=msg.ResponseFormat(regex=hostile))
        assert response.error_code == R.INVALID_FORMAT, response.error_msg
        assert client.status.messages[-1].rss_bytes <= budget << 20


@pytest.mark.parametrize('policy', ['forget', 'slide'])
def test_a_mission_goes_on_beyond_its_context_and_says_what_it_forgot(policy: str) -> None:
    with running_node(model__context_length=128, missions__overflow=policy) as client:
        forgotten = 0
        for number in range(20):
            answer = client.ask(f'Where is box {number}?', max_tokens=10)
            assert not answer.error_code, answer.error_msg
            forgotten += answer.usage.forgotten_tokens
        tokens = client.missions()['default'].tokens
        assert forgotten > 200 and tokens <= 128
    with running_node(model__context_length=128) as client:
        answers = [client.ask(f'Where is box {n}?', max_tokens=10) for n in range(20)]
        assert answers[-1].error_code == R.CONTEXT_FULL
        assert 'missions.overflow' in answers[-1].error_msg
