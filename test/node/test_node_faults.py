# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model that fails in the middle of a turn: the turn is undone and the next one is answered."""
from collections.abc import Iterator

from action_msgs.msg import GoalStatus
from lfm_ros import msg
from node_client import Client
from node_support import ODD_NODE
from node_support import running_node
import pytest

R = msg.Response
PAD = 'and a few more words, so that several calls read the prompt'


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node whose model fails when told to."""
    # What nobody expected is written with its traceback.
    with running_node(program=ODD_NODE, model__prefill_chunk=16, check_end=False) as client:
        yield client
        client.node_process.process.terminate()
        assert client.node_process.process.wait(30) == 0


@pytest.mark.parametrize('way', ['service', 'action'])
@pytest.mark.parametrize('call', [1, 2, 6, 15])
@pytest.mark.parametrize('word, code', [
    ('fail', R.MODEL_RUN_FAILED), ('crash', R.INTERNAL), ('late', R.INTERNAL)])
def test_a_turn_that_fails_is_undone_and_the_next_is_answered(
        client: Client, way: str, call: int, word: str, code: int) -> None:
    mission, twin = f'{word} {call} {way}', f'twin {word} {call} {way}'
    for name in (mission, twin):
        client.ask('remember this', mission_id=name, max_tokens=5)
    prompt = f'(slow 0) ({word} {call}) {PAD}'
    if way == 'service':
        response = client.ask(prompt, mission_id=mission, max_tokens=30)
    else:
        goal = client.generate(prompt, mission_id=mission, max_tokens=30)
        status, response = goal.end()
        assert status == GoalStatus.STATUS_ABORTED
    assert (response.error_code, response.finish_reason) == (code, R.FINISH_ERROR)
    assert 'as told' in response.error_msg
    found, wanted = (client.missions()[m] for m in (mission, twin))
    assert (found.turns, found.tokens) == (wanted.turns, wanted.tokens) and found.turns == 1
    answers = [client.ask('what was it', mission_id=m, max_tokens=15) for m in (mission, twin)]
    assert answers[0].error_code == R.NONE
    assert answers[0].text == answers[1].text


def test_a_failure_while_an_observation_is_read_ahead_does_not_end_the_model(
        client: Client) -> None:
    observe = client.publisher(msg.Observation, '~/observe')
    # The plan of the last prompt still holds: its turn is over before the failure is due.
    client.ask('(crash 12) hi', mission_id='ahead', max_tokens=1)
    observe.publish(msg.Observation(mission_id='ahead', text='much to read ' * 15))
    client.wait_until(lambda: 'ahead' in client.missions(), 'mission')
    client.wait_status(lambda s: any(
        m.mission_id == 'ahead' and m.tokens > 100 for m in s.missions))
    assert client.ask('hello', mission_id='ahead', max_tokens=5).error_code == R.NONE
    assert client.ask('hello', mission_id='another', max_tokens=5).error_code == R.NONE
    assert client.missions()['ahead'].pending_tokens < 30


def test_failures_are_counted_and_shown(client: Client) -> None:
    client.ask('(fail 1)', mission_id='counted', max_tokens=5)
    status = client.wait_status(lambda s: s.failed > 0, len(client.status.messages) - 1)
    assert status.answered > status.failed
