# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An answer is walked piece by piece; who leaves early cancels it."""
import asyncio
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from lfm_ros.client import AnswerError
from lfm_ros.client import Generation
from lfm_ros.client.waiting import wait_until_done
from lfm_ros.msg import Query
from lfm_ros.msg import Response
from lfm_ros.msg import Token
from lfm_ros.msg import Usage
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.task import Future


class Server:
    """
    Stands for the node: it is told what to do next whenever the client waits.

    :ivar cancelled: how often a cancel was asked for.
    """

    def __init__(self, *steps: Callable[['Server'], None]) -> None:
        self.steps = list(steps)
        self.cancelled = 0
        self.goal: Future = Future()
        self.end: Future = Future()
        self.generation = Generation(self, Query(), None, self.wait_for, None)

    def send_goal_async(self, goal: Any, on_feedback: Callable[[Any], None]) -> Future:
        """Take the question."""
        self.on_feedback = on_feedback
        return self.goal

    def get_result_async(self) -> Future:
        """Give a future of the end."""
        return self.end

    def cancel_goal_async(self) -> None:
        """Count."""
        self.cancelled += 1

    def wait_for(self, future: Future, timeout: float) -> None:
        """Do the next step."""
        while not future.done():
            self.steps.pop(0)(self)


class Box:
    """Has attributes."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


def accept(server: Server) -> None:
    """Accept the goal."""
    server.goal.set_result(server)


def say(number: int, text: str) -> Callable[[Server], None]:
    """Return a step that sends a token."""
    return lambda server: server.on_feedback(
        Box(feedback=Box(token=Token(seq=number, text=text))))


def end(text: str = '', **fields: Any) -> Callable[[Server], None]:
    """Return a step that sends the whole answer."""
    response = Response(text=text, usage=Usage(generated_tokens=len(text)), **fields)
    return lambda server: server.end.set_result(Box(result=Box(response=response)))


def stop(server: Server) -> None:
    """Interrupt what waits."""
    raise KeyboardInterrupt


WALKS = {'for': lambda server: list(server.generation),
         'async for': lambda server: asyncio.run(walked(server.generation))}


async def walked(generation: Generation) -> list[str]:
    """Return the pieces of an answer."""
    return [piece async for piece in generation]


@pytest.fixture(params=WALKS)
def walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
         ) -> Iterator[Callable[[Server], list[str]]]:
    """Give both ways to walk; who waits for this server waits in its own thread."""
    async def wait(server: Generation, future: Future, timeout: float) -> None:
        server._wait(future, timeout)

    monkeypatch.setattr(Generation, '_wait_async', wait)
    yield WALKS[request.param]


def test_pieces_come_in_their_order_and_the_whole_answer_stays(walk: Any) -> None:
    server = Server(accept, say(0, 'at '), say(1, ''), say(2, 'the '), end('at the dock'))
    assert walk(server) == ['at ', 'the ', 'dock']
    assert server.generation.text == server.generation.result().text == 'at the dock'
    assert list(server.generation) == ['at ', 'the ', 'dock']  # once more, from its beginning
    assert not server.cancelled


def test_tokens_that_come_before_the_goal_is_accepted_are_not_lost(walk: Any) -> None:
    server = Server(say(0, 'a'), accept, end('ab'))
    assert walk(server) == ['a', 'b']


def test_an_answer_that_fails_raises_after_its_pieces(walk: Any) -> None:
    failed = end('a', error_code=203, error_msg='it took too long', finish_reason='timeout')
    server = Server(accept, say(0, 'a'), failed)
    with pytest.raises(AnswerError, match=r'^\[203\] it took too long$') as caught:
        walk(server)
    assert caught.value.response.text == server.generation.text == 'a'
    assert not server.cancelled


def test_what_is_refused_raises_without_a_piece(walk: Any) -> None:
    with pytest.raises(AnswerError, match=r'^\[100\]'):
        walk(Server(accept, end(error_code=100, error_msg='it is empty')))


def test_an_interrupted_walk_cancels(walk: Any) -> None:
    server = Server(accept, say(0, 'a'), stop)
    with pytest.raises(KeyboardInterrupt):
        walk(server)
    assert server.cancelled


def leave_by_break(server: Server) -> None:
    """Leave after the first piece."""
    for _ in server.generation:
        assert not server.cancelled
        break


def leave_by_error(server: Server) -> None:
    """Fail in the loop."""
    with pytest.raises(ZeroDivisionError):
        for _ in server.generation:
            raise ZeroDivisionError


def leave_in_coroutine(server: Server) -> None:
    """Leave a loop in a coroutine."""
    async def leave() -> None:
        async for _ in server.generation:
            break

    asyncio.run(leave())


@pytest.mark.parametrize('leave', [leave_by_break, leave_by_error, leave_in_coroutine])
def test_who_leaves_early_cancels(leave: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(accept, say(0, 'a'), end('abc'))

    async def wait(_: Generation, future: Future, timeout: float) -> None:
        server.wait_for(future, timeout)

    monkeypatch.setattr(Generation, '_wait_async', wait)
    leave(server)
    assert server.cancelled == 1


def test_who_leaves_before_the_goal_is_accepted_cancels_when_it_is() -> None:
    server = Server()
    server.generation.cancel()
    assert not server.cancelled
    accept(server)
    assert server.cancelled == 1


def test_a_walk_in_on_token_is_refused() -> None:
    said = []

    def on_token(_: Token) -> None:
        try:
            list(server.generation)
        except RuntimeError as error:
            said.append(str(error))

    server = Server(accept, say(0, 'a'), end('a'))
    server.generation._on_token = on_token
    list(server.generation)
    assert said and all('in on_token' in sentence for sentence in said)


def test_an_end_of_ros_is_named_where_the_client_spins_the_node() -> None:
    context = Context()
    rclpy.init(context=context)
    node = Node('ending', context=context)
    context.shutdown()
    with pytest.raises(RuntimeError, match='^ROS was shut down while this waited'):
        wait_until_done(node, Future(), 10.0)
    node.destroy_node()
