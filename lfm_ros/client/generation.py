# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One answer while it is written."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from typing import Any

from lfm_ros import msg
from lfm_ros.action import Generate
from lfm_ros.client.answers import checked
from lfm_ros.client.fields import to_float
from lfm_ros.client.waiting import runs_here
from lfm_ros.client.waiting import waiting
from lfm_ros.client.waiting import wake
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future

NO_LIMIT = 24 * 3600.0
_MARGIN = 5.0  # seconds to wait beyond the node's own timeout
_ACCEPTANCE = 30.0  # seconds; a node accepts at once whatever the model does


def limit_of(timeout: float) -> float:
    """Return how many seconds to wait for a node that was told this timeout."""
    return min(timeout + _MARGIN, NO_LIMIT) if timeout > 0 else NO_LIMIT


class Generation:
    """
    An answer that is being written; made by :meth:`LfmClient.generate`.

    ``for text in generation`` and ``async for text in generation`` give it piece by piece. They
    raise AnswerError when it fails, and who leaves them early cancels it.

    :ivar future: gives the whole ``msg/Response``.
    """

    def __init__(self, action: ActionClient, query: msg.Query,
                 on_token: Callable[[msg.Token], None] | None,
                 wait_for: Callable[[Future, float], Any], node: Node) -> None:
        self.future: Future = Future()
        self._on_token = on_token
        self._wait_for = wait_for
        self._node = node
        self._limit = limit_of(query.timeout)
        self._pieces: list[str] = []
        self._news: Future = Future()  # done when something came; then there is another one
        self._next = 0
        self._last = False
        self._is_awaited = False  # by a coroutine of rclpy
        self._goal = action.send_goal_async(
            Generate.Goal(query=query), lambda message: self._push(message.feedback.token))
        self._goal.add_done_callback(self._accepted)

    @property
    def text(self) -> str:
        """Return what was written so far."""
        return ''.join(self._pieces)

    @property
    def done(self) -> bool:
        """Return whether it ended, for whatever reason."""
        return self.future.done()

    def cancel(self) -> None:
        """Give the answer up, without waiting; the mission stays as it was before."""
        if self._goal.done():  # a callback would wait for the node to be spun
            self._goal.result().cancel_goal_async()
        else:
            self._goal.add_done_callback(lambda goal: goal.result().cancel_goal_async())

    def result(self, timeout: float = NO_LIMIT) -> msg.Response:
        """
        Wait for the whole answer, or for what a cancelled one had come to.

        :raises TimeoutError: when it takes longer than that many seconds; it goes on.
        :raises RuntimeError: in a callback that keeps the answer from being received.
        """
        timeout = to_float(timeout, 'timeout')
        if not self.done:
            self._wait(self._goal, min(timeout, _ACCEPTANCE))
            self._wait(self.future, timeout)
        return self.future.result()

    def __await__(self) -> Generator[None, None, msg.Response]:
        """Give the whole answer to a coroutine."""
        self._is_awaited = True
        return self.future.__await__()

    def __iter__(self) -> Iterator[str]:
        """Give the answer piece by piece; waits as :meth:`result` does."""
        return _Walk(self)

    def __aiter__(self) -> AsyncIterator[str]:
        """Give the answer piece by piece to a coroutine, of rclpy or of asyncio."""
        return _Walk(self)

    def _wait(self, future: Future, timeout: float) -> None:
        if runs_here(Generation._push.__code__) and not future.done():
            raise RuntimeError('this would wait for ever in on_token, since tokens come one after '
                               'the other: await its future, or give that a callback')
        self._wait_for(future, timeout)

    async def _wait_async(self, future: Future, timeout: float) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a coroutine of rclpy
            self._is_awaited = True
            await future
            return
        with waiting(self._node, 'use async for in a coroutine of rclpy'):
            await asyncio.to_thread(self._wait_for, future, timeout)

    def _accepted(self, goal: Future) -> None:
        goal.result().get_result_async().add_done_callback(self._ended)

    def _push(self, token: msg.Token) -> None:
        if token.seq != self._next or self._last:
            return
        self._next += 1
        self._last = token.done
        if token.text:
            self._pieces.append(token.text)
            self._tell()
        if self._on_token:
            self._on_token(token)

    def _ended(self, result: Future) -> None:
        """Take the end; rclpy forgets tokens that are still on their way then."""
        response = result.result().result.response
        if response.usage.generated_tokens:
            self._push(msg.Token(
                request_id=response.request_id, mission_id=response.mission_id, seq=self._next,
                text=response.text[len(self.text):], done=True))
        self.future.set_result(response)
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, Future()
        news.set_result(None)
        if self._is_awaited:
            wake(self._node, again=self.done)


class _Walk:
    """The pieces of an answer; when it is dropped before their end, the answer is cancelled."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._place = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    def __next__(self) -> str:
        while missing := self._missing():
            with self._cancelling():
                self._generation._wait(*missing)
        return self._take(StopIteration)

    async def __anext__(self) -> str:
        while missing := self._missing():
            with self._cancelling():
                await self._generation._wait_async(*missing)
        return self._take(StopAsyncIteration)

    def __del__(self) -> None:
        if not self._generation.done:
            with suppress(Exception):  # ROS may be shut down
                self._generation.cancel()

    def _missing(self) -> tuple[Future, float] | None:
        """Return what to wait for, and how long at most; None: there is a piece, or the end."""
        found = self._generation
        if not found._goal.done():
            return found._goal, min(found._limit, _ACCEPTANCE)
        news = found._news  # taken before the look, so that nothing is missed in between
        is_there = found.done or self._place < len(found._pieces)
        return None if is_there else (news, found._limit)

    def _take(self, end: type[Exception]) -> str:
        if self._place < len(self._generation._pieces):
            self._place += 1
            return self._generation._pieces[self._place - 1]
        checked(self._generation.future.result())
        raise end

    @contextmanager
    def _cancelling(self) -> Iterator[None]:
        """Cancel at an error; its traceback may keep this object for long."""
        try:
            yield
        except BaseException:
            self.__del__()
            raise
