# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A queue that is full, time that is over, and a node that is not active."""
from collections.abc import Iterator

from lfm_ros import msg
from lfm_ros import srv
from node_client import Client
from node_client import Goal
from node_support import ODD_NODE
from node_support import running_node
import pytest

R = msg.Response
SLOW = '(slow 20)'  # 20 ms for every token: a hundred of them leave time to do something


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node whose queue has one place."""
    with running_node(program=ODD_NODE, queue__size=1, queue__parallel=1) as client:
        yield client


def occupy(client: Client, prompt: str = SLOW, mission_id: str = 'slow', **fields: float) -> Goal:
    """Ask a question that takes two seconds, and wait until it runs."""
    goal = client.generate(prompt, mission_id=mission_id, max_tokens=100, **fields)
    goal.deltas.wait()
    return goal


@pytest.mark.parametrize('policy, same_mission, other_mission', [
    ('reject', [R.NONE, R.QUEUE_FULL, R.QUEUE_FULL], [R.NONE, R.QUEUE_FULL]),
    ('drop_oldest', [R.DISPLACED, R.DISPLACED, R.NONE], [R.DISPLACED, R.NONE]),
    ('keep_last', [R.DISPLACED, R.DISPLACED, R.NONE], [R.NONE, R.QUEUE_FULL]),
])
def test_a_full_queue_does_what_its_policy_says(
        policy: str, same_mission: list[int], other_mission: list[int]) -> None:
    with running_node(program=ODD_NODE, queue__size=1, queue__parallel=1,
                      queue__policy=policy) as client:
        for missions, wanted in ((['m', 'm', 'm'], same_mission), (['a', 'b'], other_mission)):
            running = occupy(client)
            goals = []
            for name in missions:
                goals.append(client.generate('hello', mission_id=name, max_tokens=2))
                goals[-1].accept()
            running.cancel()
            assert [g.end()[1].error_code for g in goals] == wanted
            assert running.end()[1].error_code == R.CANCELLED


def test_a_status_shows_the_queue_and_what_runs(client: Client) -> None:
    running = occupy(client, request_id='the running one')
    start = len(client.status.messages)
    waiting = client.generate('hello', mission_id='m', max_tokens=2)
    waiting.accept()
    status = client.wait_status(lambda s: s.queue_length == 1, start)
    assert (status.running_request_id, status.queue_size) == ('the running one', 1)
    running.cancel()
    waiting.response()
    client.wait_status(lambda s: not s.running_request_id and s.queue_length == 0, start)


def test_the_time_is_over_in_the_queue(client: Client) -> None:
    running = occupy(client)
    response = client.ask('hello', mission_id='timeout', timeout=0.1)
    assert (response.error_code, response.finish_reason) == (R.TIMEOUT_IN_QUEUE, R.FINISH_TIMEOUT)
    assert response.usage.seconds_queued >= 0.1 and response.usage.generated_tokens == 0
    assert running.cancel()
    assert running.end()[1].error_code == R.CANCELLED
    assert 'timeout' not in client.missions()


def test_the_time_is_over_during_the_run_and_the_turn_is_undone(client: Client) -> None:
    client.ask('hello', mission_id='over', max_tokens=5)
    client.ask('hello', mission_id='twin', max_tokens=5)
    before = client.missions()['over']
    response = client.ask(SLOW, mission_id='over', timeout=0.5)
    assert (response.error_code, response.finish_reason) == (R.TIMEOUT, R.FINISH_TIMEOUT)
    assert response.usage.generated_tokens > 0 and 'rolled back' in response.error_msg
    after = client.missions()['over']
    assert (after.turns, after.tokens) == (before.turns, before.tokens)
    texts = {client.ask('well', mission_id=m, max_tokens=15).text for m in ('over', 'twin')}
    assert len(texts) == 1


def test_the_time_is_over_while_a_long_prompt_is_read(client: Client) -> None:
    response = client.ask(SLOW + 'x' * 300, mission_id='prefill', timeout=0.06)
    assert response.error_code == R.TIMEOUT and response.usage.generated_tokens == 0
    assert 'prefill' not in client.missions()


def test_the_default_time_limit_is_a_parameter(client: Client) -> None:
    assert client.set_parameters(queue__timeout=0.3)[0].successful
    assert client.ask(SLOW, mission_id='limit').error_code == R.TIMEOUT
    assert client.set_parameters(queue__timeout=0.0)[0].successful
    assert client.ask(SLOW, mission_id='limit', max_tokens=20).error_code == R.NONE


def request_errors(client: Client) -> set[tuple[int, str]]:
    """Ask in every way and return all codes and sentences."""
    asked = client.publisher(msg.Query, '~/query')
    responses = client.subscribe(msg.Response, '~/response')
    client.wait_until(lambda: client.node.count_publishers('/lfm/response') == 1, '~/response')
    asked.publish(msg.Query(prompt='hello'))
    replies = [
        client.ask('hello'), client.generate('hello').end()[1], responses.wait()[0],
        client.reset('x'), client.call(srv.GetModelInfo, '~/model_info'),
        client.call(srv.Tokenize, '~/tokenize', srv.Tokenize.Request(text='hello'))]
    assert client.missions() == {}
    return {(r.error_code, r.error_msg) for r in replies}


def test_a_node_without_autostart_says_what_to_do() -> None:
    with running_node(autostart=False, state='unconfigured') as client:
        found = request_errors(client)
        assert len(found) == 1
        (code, text), = found
        assert code == R.NOT_ACTIVE and 'configure and activate' in text


def test_a_node_with_a_wrong_model_names_the_reason(tmp_path: object) -> None:
    with running_node(model='', model__path=f'{tmp_path}/nothing here',
                      state='unconfigured') as client:
        client.wait_until(lambda: 'configure failed' in client.node_process.log, 'failure')
        found = request_errors(client)
        assert len(found) == 1
        (code, text), = found
        assert code == R.NOT_ACTIVE and 'nothing here' in text
