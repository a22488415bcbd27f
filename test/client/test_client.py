# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The client for other Python nodes, in both ways of spinning."""
from collections.abc import Callable
from collections.abc import Iterator
import json
import subprocess
import sys
import threading
from typing import Any
from typing import Literal

from action_msgs.srv import CancelGoal
from lfm_ros.client import AnswerError
from lfm_ros.client import LfmClient
from lfm_ros.client.reliable_client import wait_until_known
from lfm_ros.msg import Response
from lfm_ros.msg import Sampling
from lfm_ros.msg import Token
from lfm_ros.node.deferred import DeferredService
from node_client import Client
from node_client import DEADLINE
from node_client import result_of
from node_support import ROOT
from node_support import running_node
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

GREEDY = Sampling(temperature=0.0)
COLOURS = ['red', 'green', 'blue']
A_DIGIT = {'type': 'object', 'properties': {'digit': {'enum': [1, 2, 3]}}, 'required': ['digit'],
           'additionalProperties': False}


@pytest.fixture(scope='module')
def server() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


@pytest.fixture(params=['spun by the client', 'spun by an executor in another thread'])
def user(server: Client, request: pytest.FixtureRequest) -> Iterator[LfmClient]:
    """Give an LfmClient of a node of the user's own, in the default context."""
    yield from make_user(server, 'executor' in request.param)


@pytest.fixture
def spun(server: Client) -> Iterator[LfmClient]:
    """Give an LfmClient whose node is spun by an executor in another thread."""
    yield from make_user(server, True)


def make_user(server: Client, is_spun: bool) -> Iterator[LfmClient]:
    """Give an LfmClient of a node of the user's own, in the default context."""
    rclpy.init(domain_id=server.node_process.domain)
    node = rclpy.create_node('user')
    executor = SingleThreadedExecutor()
    thread = threading.Thread(target=executor.spin)
    client = LfmClient(node)  # rclpy adds an action client to its node before it is whole
    if is_spun:
        executor.add_node(node)
        thread.start()
    client.wait()
    yield client
    executor.shutdown()
    if thread.ident:
        thread.join()
    node.destroy_node()
    rclpy.shutdown()


def in_callback(client: LfmClient, work: Callable[[], Any]) -> Any:
    """Do something in the thread of the executor, which is also what a callback runs in."""
    return result_of(client._node.executor.create_task(work), 'turn in the executor')


def test_blocking_calls_follow_each_other(user: LfmClient) -> None:
    user.ask('hello', mission_id='m', max_tokens=2)
    assert user.ask('hello again', mission_id='m', max_tokens=2).usage.cached_tokens > 0
    assert 'm' in [m.mission_id for m in user.missions()]
    user.fork('m', 'n')
    user.rewind(1, 'n')
    user.reset('m')
    assert {m.mission_id: m.turns for m in user.missions()} == {'m': 0, 'n': 1}
    user.delete('m')
    user.delete('n')
    assert user.missions() == []


def test_a_refused_operation_raises_with_code_and_sentence(user: LfmClient) -> None:
    with pytest.raises(AnswerError, match=r'\[107\] there is no mission') as caught:
        user.delete('never')
    assert caught.value.code == Response.UNKNOWN_MISSION


def test_json_comes_as_a_value(user: LfmClient) -> None:
    assert user.ask_json('count', A_DIGIT, aside=True)['digit'] in (1, 2, 3)


def test_json_that_was_cut_or_refused_raises(user: LfmClient) -> None:
    with pytest.raises(AnswerError, match='the answer was cut after 2 tokens') as caught:
        user.ask_json('count', A_DIGIT, aside=True, max_tokens=2)
    assert (caught.value.code, caught.value.response.finish_reason) == (0, 'length')
    with pytest.raises(AnswerError, match=r'\[114\]') as caught:
        user.ask_json('count', {'type': 'nonsense'}, aside=True)
    assert caught.value.response.error_msg == caught.value.message


def test_a_choice_is_the_likeliest_and_says_how_likely_all_are(user: LfmClient) -> None:
    choice = user.choose('which colour?', COLOURS, aside=True)
    assert list(choice.probabilities) == COLOURS
    assert sum(choice.probabilities.values()) == pytest.approx(1.0)
    assert choice.confidence == max(choice.probabilities.values())


def test_callbacks_ask_without_waiting(spun: LfmClient) -> None:
    choice = in_callback(spun, lambda: spun.choose_async('which?', COLOURS, aside=True))
    value = in_callback(spun, lambda: spun.ask_json_async('count', A_DIGIT, aside=True))
    refused = in_callback(spun, lambda: spun.ask_json_async('', A_DIGIT))
    generation = in_callback(spun, lambda: spun.generate('go on', aside=True, max_tokens=5))
    assert spun.wait_for(choice).text in COLOURS
    assert set(spun.wait_for(value)) == {'digit'}
    with pytest.raises(AnswerError, match=r'\[100\]'):
        spun.wait_for(refused)
    assert spun.wait_for(generation.future).text == generation.text


def test_coroutines_await_answers(spun: LfmClient) -> None:
    async def ask() -> tuple[str, str]:
        response = (await spun.ask_async('go on', aside=True, max_tokens=5)).response
        return response.text, (await spun.generate('go on', aside=True, max_tokens=5)).text

    first, second = result_of(spun._node.executor.create_task(ask), 'end of the coroutine')
    assert first and second


def test_pieces_of_a_generation_add_up_to_its_text(user: LfmClient) -> None:
    pieces: list[Token] = []
    generation = user.generate('go on', on_token=pieces.append, max_tokens=20)
    response = generation.result()
    assert ''.join(p.text for p in pieces) == generation.text == response.text
    assert generation.done


def test_a_cancelled_generation_says_so(user: LfmClient) -> None:
    generation = user.generate('go on', max_tokens=400, stop=['never written'])
    generation.cancel()
    assert generation.result().finish_reason in (
        Response.FINISH_CANCELLED, Response.FINISH_STOP, Response.FINISH_CONTEXT)


def test_what_is_converted_is_answered(user: LfmClient) -> None:
    assert user.ask('a', aside=1, timeout=20, max_tokens=2.0, stop='never', sampling={
        'temperature': 0}).usage.generated_tokens == 2
    assert user.choose('which?', iter(COLOURS), aside=True).text in COLOURS
    assert user.ask_json('count', json.dumps(A_DIGIT), aside=True)['digit'] in (1, 2, 3)
    user.observe('it rains', 'm')
    user.rewind(np.int8(0), 'm')
    user.delete('m')


def test_functions_are_called_and_their_results_answered(user: LfmClient) -> None:
    called = []

    def drive(place: Literal['dock', 'gate']) -> str:
        """Drive somewhere."""
        called.append(place)
        return f'arrived at the {place}'

    response = user.run_tools('go', [drive], 'tools', tool_choice='drive', sampling=GREEDY,
                              max_tokens=80, rounds=1)
    assert len(called) == 1 and called[0] in ('dock', 'gate')
    assert response.finish_reason in (Response.FINISH_STOP, Response.FINISH_LENGTH)
    status, = [m for m in user.missions() if m.mission_id == 'tools']
    assert status.turns == 2
    user.delete('tools')


def test_a_question_with_tools_that_is_refused_raises(user: LfmClient) -> None:
    with pytest.raises(AnswerError, match=r'\[115\].*tool_choice') as caught:
        user.run_tools('go', [], 'no tools', tool_choice='required')
    assert caught.value.code == Response.INVALID_TOOL


def test_a_reply_that_comes_while_its_goal_is_still_being_noted_is_not_lost(
        spun: LfmClient, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(dict):  # type: ignore[type-arg]
        def __setitem__(self, key: Any, value: Any) -> None:
            threading.Event().wait(0.3)  # rclpy is here between sending a goal and noting it
            super().__setitem__(key, value)

    monkeypatch.setattr(spun._generate, '_feedback_callbacks', Slow())
    assert spun.generate('go on', aside=True, max_tokens=2).result(DEADLINE).text


def test_a_node_is_known_when_a_reply_arrived_though_earlier_ones_were_lost(
        server: Client) -> None:
    asked = []

    def lose_two(request: CancelGoal.Request, send: Callable[[Any], None]) -> None:
        asked.append(bytes(request.goal_info.goal_id.uuid))
        if len(asked) > 2:
            send(CancelGoal.Response())

    server._in_thread(lambda: DeferredService(
        server.node, CancelGoal, '/forgetful/generate/_action/cancel_goal', lose_two))
    context = Context()
    context.init(domain_id=server.node_process.domain)
    node = Node('newcomer', context=context)
    assert wait_until_known(node, '/forgetful', DEADLINE)
    assert len(asked) == 3
    assert any(asked[0])  # all zeros would mean every goal there is
    node.destroy_node()
    context.shutdown()


def test_interfaces_are_whole_before_two_threads_can_use_them() -> None:
    program = ('import lfm_ros.client; from lfm_ros.action import Generate; '
               'assert Generate.Impl.SendGoalService.Response._CREATE_ROS_MESSAGE')
    subprocess.run([sys.executable, '-c', program], cwd=ROOT, check=True)


def test_a_missing_node_is_named() -> None:
    context = Context()
    rclpy.init(context=context)
    node = Node('lonely', context=context)
    with pytest.raises(TimeoutError, match='/nobody'):
        LfmClient(node, '/nobody').wait(0.1)
    node.destroy_node()
    rclpy.shutdown(context=context)
