# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The client in callbacks: what would wait for ever is refused at once, all else works."""
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import threading
from typing import Any

from lfm_ros.client import LfmClient
from lfm_ros.client.waiting import waiting
from lfm_ros.msg import Token
from node_client import Client
from node_client import DEADLINE
from node_support import running_node
import pytest
import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.executors import MultiThreadedExecutor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

DIGIT = {'enum': [1, 2, 3]}
# All that waits, and what the refusal advises.
BLOCKING: dict[str, tuple[Callable[[LfmClient], Any], str]] = {
    'ask': (lambda c: c.ask('a', 'refused', aside=True), 'use ask_async'),
    'ask_json': (lambda c: c.ask_json('a', DIGIT, 'refused', aside=True), 'use ask_json_async'),
    'choose': (lambda c: c.choose('a', ['x', 'y'], 'refused', aside=True), 'use choose_async'),
    'run_tools': (lambda c: c.run_tools('a', [], 'refused', aside=True), 'use ask_async'),
    'result': (lambda c: c.generate('a', aside=True, max_tokens=2).result(), 'await its future'),
    'wait_for': (lambda c: c.wait_for(Future()), 'await its future'),
    'missions': (lambda c: c.missions(), 'another thread'),
    'reset': (lambda c: c.reset('m'), 'another thread'),
    'delete': (lambda c: c.delete('m'), 'another thread'),
    'fork': (lambda c: c.fork('m', 'refused'), 'another thread'),
    'rewind': (lambda c: c.rewind(0, 'm'), 'another thread'),
    'save': (lambda c: c.save('m'), 'another thread'),
    'export': (lambda c: c.export('m'), 'another thread'),
    'import_': (lambda c: c.import_('m'), 'another thread')}


@pytest.fixture(scope='module')
def server() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


@pytest.fixture
def node(server: Client) -> Iterator[Node]:
    """Give a node of the user's own, in the default context."""
    rclpy.init(domain_id=server.node_process.domain)
    node = rclpy.create_node('user')
    yield node
    node.destroy_node()
    rclpy.shutdown()


@contextmanager
def spun(server: Client, kind: Callable[..., Executor], **options: Any
         ) -> Iterator[tuple[Node, LfmClient]]:
    """Give a node in a context of its own, spun by an executor, and a client of it."""
    context = Context()
    context.init(domain_id=server.node_process.domain)
    node = Node('spun', context=context)
    with spinning(node, kind(context=context, **options)) as client:
        yield node, client
    node.destroy_node()
    context.shutdown()


@pytest.fixture(scope='module')
def alone(server: Client) -> Iterator[tuple[Node, LfmClient]]:
    """Give a node that a single thread spins."""
    with spun(server, SingleThreadedExecutor) as found:
        yield found


@pytest.fixture(scope='module')
def several(server: Client) -> Iterator[tuple[Node, LfmClient]]:
    """Give a node whose callbacks two threads run."""
    with spun(server, MultiThreadedExecutor, num_threads=2) as found:
        yield found


@contextmanager
def spinning(node: Node, executor: Executor) -> Iterator[LfmClient]:
    """Give a client whose node an executor spins in another thread."""
    client = LfmClient(node)
    thread = threading.Thread(target=executor.spin)
    executor.add_node(node)
    thread.start()
    client.wait()
    try:
        yield client
    finally:
        executor.shutdown()
        thread.join()


def in_callback(node: Node, work: Callable[[], Any], group: Any = None) -> Callable[[], Any]:
    """Do something in a callback of a node; return what waits for its result."""
    done = threading.Event()
    outcome: list[Any] = []

    def callback() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)
        done.set()

    node.create_guard_condition(callback, callback_group=group).trigger()

    def result() -> Any:
        assert done.wait(DEADLINE)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]
    return result


@pytest.mark.parametrize('kind', BLOCKING)
def test_what_waits_is_refused_at_once_in_a_callback_of_the_only_thread(
        alone: tuple[Node, LfmClient], kind: str) -> None:
    (node, client), (work, advice) = alone, BLOCKING[kind]
    with pytest.raises(RuntimeError, match=f'in a callback.*: .*{advice}'):
        in_callback(node, lambda: work(client))()
    assert 'refused' not in [mission.mission_id for mission in client.missions()]
    assert client.ask('a', aside=True, max_tokens=2).text  # from here it may wait


def test_a_callback_may_wait_for_the_node_to_be_there(alone: tuple[Node, LfmClient]) -> None:
    node, client = alone
    assert in_callback(node, client.wait)() is None


def test_it_is_refused_too_where_the_client_itself_spins_the_node(node: Node) -> None:
    client = LfmClient(node)
    client.wait()
    result = in_callback(node, lambda: client.ask('a', aside=True))
    assert client.ask('b', aside=True, max_tokens=2).text
    with pytest.raises(RuntimeError, match='use ask_async'):
        result()


def test_it_is_refused_in_coroutines_and_in_callbacks_of_futures(
        alone: tuple[Node, LfmClient]) -> None:
    node, client = alone

    async def ask() -> str:
        await client.ask_async('a', aside=True, max_tokens=2)
        return error_of(lambda: client.ask('b', aside=True))

    assert 'use ask_async' in client.wait_for(node.executor.create_task(ask))
    outcome: Future = Future()
    client.ask_async('a', aside=True, max_tokens=2).add_done_callback(
        lambda _: outcome.set_result(error_of(lambda: client.ask('b', aside=True))))
    assert 'use ask_async' in client.wait_for(outcome)


def error_of(work: Callable[[], Any]) -> str:
    """Return the error of what is done here."""
    try:
        return str(work())
    except RuntimeError as error:
        return str(error)


@pytest.mark.parametrize('kind', ['ask', 'ask_json', 'choose', 'result', 'missions', 'run_tools'])
def test_callbacks_of_several_threads_may_wait_whatever_their_group(
        several: tuple[Node, LfmClient], kind: str) -> None:
    node, client = several
    for _ in range(2):
        assert in_callback(node, lambda: BLOCKING[kind][0](client))() is not None


@pytest.mark.parametrize('kind', ['ask', 'result', 'missions'])
def test_the_last_thread_of_several_may_not_wait(
        several: tuple[Node, LfmClient], kind: str) -> None:
    node, client = several
    group, entered, leave = ReentrantCallbackGroup(), threading.Event(), threading.Event()

    def wait_long() -> bool:
        with waiting(node, ''):
            entered.set()
            return leave.wait(DEADLINE)

    first = in_callback(node, wait_long, group)
    assert entered.wait(DEADLINE)
    with pytest.raises(RuntimeError, match='more threads'):
        in_callback(node, lambda: BLOCKING[kind][0](client), group)()
    leave.set()
    assert first()
    assert in_callback(node, lambda: BLOCKING[kind][0](client), group)() is not None


def test_tokens_may_be_answered_by_questions_but_not_by_generations(
        several: tuple[Node, LfmClient]) -> None:
    _, client = several
    outcomes: list[Any] = []

    def on_token(token: Token) -> None:
        if not outcomes:
            outcomes.append(client.missions())
            outcomes.append(error_of(lambda: client.generate('b', aside=True).result()))

    generation = client.generate('go on', aside=True, on_token=on_token, max_tokens=5)
    assert generation.result(DEADLINE).text == generation.text
    assert isinstance(outcomes[0], list) and 'in on_token' in outcomes[1]


def test_a_callback_of_another_executor_may_wait(
        node: Node, alone: tuple[Node, LfmClient]) -> None:
    other, executor = rclpy.create_node('other'), SingleThreadedExecutor()
    executor.add_node(other)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    assert in_callback(other, lambda: alone[1].ask('a', aside=True, max_tokens=2))().text
    executor.shutdown()
    thread.join()
    other.destroy_node()


def test_a_node_may_be_asked_through_while_another_thread_spins_another(node: Node) -> None:
    other, end = rclpy.create_node('other'), threading.Event()
    ends: Future = Future()
    thread = threading.Thread(target=rclpy.spin_until_future_complete, args=(other, ends))
    in_callback(other, end.set)
    thread.start()
    assert end.wait(DEADLINE)
    client = LfmClient(node)
    client.wait()
    assert client.ask('a', aside=True, max_tokens=2).text
    ends.set_result(None)
    thread.join()
    other.destroy_node()


def test_a_node_of_another_context_may_be_asked_through(server: Client) -> None:
    context = Context()
    context.init(domain_id=server.node_process.domain)
    node = Node('abroad', context=context)
    client = LfmClient(node)
    client.wait()
    assert client.ask('a', aside=True, max_tokens=2).text
    node.destroy_node()
    context.shutdown()


def test_an_executor_that_nobody_spins_is_named(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    client = LfmClient(node)
    client.wait()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    monkeypatch.setattr('sys._current_frames', lambda: {0: None})  # no other thread is there
    with pytest.raises(RuntimeError, match='the executor of the node is not spun'):
        client.ask('a', aside=True)
    executor.remove_node(node)
    executor.shutdown()
    assert client.ask('a', aside=True, max_tokens=2).text


def test_an_end_of_ros_ends_what_waits(server: Client) -> None:
    context = Context()
    context.init(domain_id=server.node_process.domain)
    node, executor = Node('leaving', context=context), SingleThreadedExecutor(context=context)
    client = LfmClient(node)
    executor.add_node(node)
    outcome: list[str] = []
    thread = threading.Thread(
        target=lambda: outcome.append(error_of(lambda: client.wait_for(Future(), 999.0))))
    thread.start()
    context.shutdown()
    thread.join(DEADLINE)
    assert outcome == ['ROS was shut down while this waited for an answer']
    executor.shutdown()
    node.destroy_node()


@pytest.mark.parametrize('is_spun', [False, True])
def test_coroutines_are_tools_that_run_to_their_end(node: Node, is_spun: bool) -> None:
    driven: list[str] = []

    async def drive() -> str:
        """Drive to the dock."""
        response = (await client.ask_async('is it free?', aside=True, max_tokens=2)).response
        driven.append(response.text)
        return 'arrived'

    def run(client: LfmClient) -> Any:
        return client.run_tools('go', [drive], 'coroutines', tool_choice='drive', max_tokens=80,
                                rounds=1)

    if is_spun:
        with spinning(node, SingleThreadedExecutor()) as client:
            run(client)
            client.delete('coroutines')
    else:
        client = LfmClient(node)
        client.wait()
        run(client)
        client.delete('coroutines')
    assert len(driven) == 1 and driven[0]
