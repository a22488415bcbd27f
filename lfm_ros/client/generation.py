# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One answer while it is written."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
from typing import Any

from lfm_ros import msg
from lfm_ros.action import Generate
from lfm_ros.client.waiting import runs_here
from rclpy.action import ActionClient
from rclpy.task import Future

NO_LIMIT = 24 * 3600.0
_ACCEPTANCE = 30.0  # seconds; a node accepts at once whatever the model does


class Generation:
    """
    An answer that is being written; made by :meth:`LfmClient.generate`.

    :ivar text: what was written so far.
    :ivar future: gives the whole ``msg/Response``.
    """

    def __init__(self, action: ActionClient, query: msg.Query,
                 on_token: Callable[[msg.Token], None] | None,
                 wait_for: Callable[[Future, float], Any]) -> None:
        self.text = ''
        self.future: Future = Future()
        self._on_token = on_token
        self._wait_for = wait_for
        self._next = 0
        self._last = False
        self._goal = action.send_goal_async(
            Generate.Goal(query=query), lambda message: self._push(message.feedback.token))
        self._goal.add_done_callback(self._accepted)

    @property
    def done(self) -> bool:
        """Return whether it ended, for whatever reason."""
        return self.future.done()

    def cancel(self) -> None:
        """Give the answer up, without waiting; the mission stays as it was before."""
        self._goal.add_done_callback(lambda goal: goal.result().cancel_goal_async())

    def result(self, timeout: float = NO_LIMIT) -> msg.Response:
        """
        Wait for the whole answer, or for what a cancelled one had come to.

        :raises TimeoutError: when it takes longer than that many seconds; it goes on.
        :raises RuntimeError: in a callback that keeps the answer from being received.
        """
        if self.done:
            return self.future.result()
        if runs_here(Generation._push.__code__):
            raise RuntimeError('this would wait for ever in on_token, since tokens come one after '
                               'the other: await its future, or give that a callback')
        self._wait_for(self._goal, min(timeout, _ACCEPTANCE))
        return self._wait_for(self.future, timeout)

    def __await__(self) -> Generator[None, None, msg.Response]:
        """Give the whole answer to a coroutine."""
        return self.future.__await__()

    def _accepted(self, goal: Future) -> None:
        goal.result().get_result_async().add_done_callback(self._ended)

    def _push(self, token: msg.Token) -> None:
        if token.seq != self._next or self._last:
            return
        self._next += 1
        self._last = token.done
        self.text += token.text
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
