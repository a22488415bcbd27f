# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask a model from another Python node.

    client = LfmClient(node)
    client.wait()
    print(client.ask('Where is the dock?').text)

Blocking calls spin the node until the answer is there. When the node is spun by somebody else
(it was added to an executor that runs in another thread) they only wait; from inside a callback
use the futures of :meth:`LfmClient.ask_async` instead.
"""
from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.action import Generate
import rclpy
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future

_MARGIN = 5.0  # seconds a blocking call waits beyond the node's own timeout
_NO_LIMIT = 24 * 3600.0
_PIECES = 1000  # with rclpy's 10, pieces are lost while the node of the user is busy


class _Pieces:
    """
    Hands pieces of an answer on, in order and complete.

    rclpy's client forgets feedback that is still on its way when the goal ends, so what is
    missing then is taken from the response.
    """

    def __init__(self, receive: Callable[[msg.Token], None] | None) -> None:
        self._receive = receive
        self._next = 0
        self._length = 0
        self._done = False

    def push(self, token: msg.Token) -> None:
        if token.seq != self._next or self._done:
            return
        self._next += 1
        self._length += len(token.text)
        self._done = token.done
        if self._receive:
            self._receive(token)

    def finish(self, response: msg.Response) -> None:
        if response.usage.generated_tokens:
            self.push(msg.Token(
                request_id=response.request_id, mission_id=response.mission_id, seq=self._next,
                text=response.text[self._length:], done=True))


class Generation:
    """An answer that is being written; made by :meth:`LfmClient.generate`."""

    def __init__(self, client: LfmClient, goal: ClientGoalHandle, pieces: _Pieces) -> None:
        self._client = client
        self._goal = goal
        self._pieces = pieces
        self._result = goal.get_result_async()

    def cancel(self) -> None:
        """Give the answer up; the mission stays as it was before."""
        self._client.wait_for(self._goal.cancel_goal_async())

    def result(self, timeout: float = _NO_LIMIT) -> msg.Response:
        """Wait for the whole answer, or for what a cancelled one had come to."""
        response = self._client.wait_for(self._result, timeout).result.response
        self._pieces.finish(response)
        return response


class LfmClient:
    """
    Asks one lfm node.

    :param node: through which to ask.
    :param server: name of the lfm node, with its namespace.
    """

    def __init__(self, node: Node, server: str = '/lfm') -> None:
        self._node = node
        self._server = server
        self._ask = node.create_client(srv.Ask, f'{server}/ask')
        self._generate = ActionClient(
            node, Generate, f'{server}/generate',
            feedback_sub_qos_profile=QoSProfile(depth=_PIECES))
        self._observe = node.create_publisher(msg.Observation, f'{server}/observe', 10)
        self._services: dict[str, Any] = {}

    def wait(self, timeout: float = 30.0) -> None:
        """
        Wait until the node can be reached.

        :raises TimeoutError: when it cannot.
        """
        if not self._ask.wait_for_service(timeout) or not self._generate.wait_for_server(timeout):
            raise TimeoutError(f'no node {self._server} after {timeout:g} s: is it started, with '
                               'the same ROS_DOMAIN_ID?')

    def ask(self, prompt: str, mission_id: str = '', timeout: float = 0.0,
            **fields: Any) -> msg.Response:
        """
        Ask and wait for the whole answer.

        :param timeout: seconds; 0: what the node's parameters say.
        :param fields: further fields of ``msg/Query``.
        """
        future = self.ask_async(prompt, mission_id, timeout, **fields)
        try:
            return self.wait_for(future, timeout + _MARGIN if timeout else _NO_LIMIT).response
        finally:
            self._ask.remove_pending_request(future)

    def ask_async(self, prompt: str, mission_id: str = '', timeout: float = 0.0,
                  **fields: Any) -> Future:
        """Ask and return a future of ``srv/Ask.Response``."""
        query = msg.Query(prompt=prompt, mission_id=mission_id, timeout=timeout, **fields)
        return self._ask.call_async(srv.Ask.Request(query=query))

    def generate(self, prompt: str, mission_id: str = '',
                 on_token: Callable[[msg.Token], None] | None = None,
                 **fields: Any) -> Generation:
        """
        Ask, and receive the answer while it is written.

        :param on_token: called with each piece.
        """
        query = msg.Query(prompt=prompt, mission_id=mission_id, **fields)

        pieces = _Pieces(on_token)
        future = self._generate.send_goal_async(
            Generate.Goal(query=query), lambda message: pieces.push(message.feedback.token))
        return Generation(self, self.wait_for(future), pieces)

    def observe(self, text: str, mission_id: str = '', **fields: Any) -> None:
        """
        Tell a mission something that needs no answer.

        :param fields: further fields of ``msg/Observation``, such as images.
        """
        self._observe.publish(msg.Observation(text=text, mission_id=mission_id, **fields))

    def missions(self) -> list[msg.MissionStatus]:
        """Return all missions of the node."""
        return list(self._call(srv.ListMissions, 'list').missions)

    def reset(self, mission_id: str = '') -> None:
        """Forget all turns of a mission."""
        self._call(srv.ResetMission, 'reset', mission_id=mission_id)

    def delete(self, mission_id: str = '') -> None:
        """Delete a mission."""
        self._call(srv.DeleteMission, 'delete', mission_id=mission_id)

    def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""
        self._call(srv.ForkMission, 'fork', mission_id=mission_id,
                   new_mission_id=new_mission_id)

    def rewind(self, turns: int, mission_id: str = '') -> None:
        """Take a mission back to where it had that many turns."""
        self._call(srv.RewindMission, 'rewind', mission_id=mission_id, turns=turns)

    def save(self, mission_id: str = '') -> int:
        """Write the state of a mission to the disk now; return the bytes that it takes there."""
        return int(self._call(srv.SaveMission, 'save', mission_id=mission_id).stored_bytes)

    def export(self, mission_id: str = '', file: str = '') -> str:
        """Write a mission into one file; return its path on the node's machine."""
        return str(self._call(srv.ExportMission, 'export', mission_id=mission_id,
                              file=file).path)

    def import_(self, file: str, new_mission_id: str = '') -> str:
        """Take a mission from a file in the node's exports; return what it is called here."""
        return str(self._call(srv.ImportMission, 'import', file=file,
                              new_mission_id=new_mission_id).mission_id)

    def wait_for(self, future: Future, timeout: float = 30.0) -> Any:
        """
        Return the result of a future.

        :raises TimeoutError: when it takes longer than that many seconds.
        """
        executor = self._node.executor
        # rclpy leaves the executor of its last spin set, though the node is no longer in it.
        if executor is None or self._node not in executor.get_nodes():
            rclpy.spin_until_future_complete(self._node, future, timeout_sec=timeout)
        else:
            done = threading.Event()
            future.add_done_callback(lambda _: done.set())
            done.wait(timeout)
        if not future.done():
            raise TimeoutError(f'{self._server} did not answer in {timeout:g} s')
        return future.result()

    def _call(self, kind: Any, name: str, **fields: Any) -> Any:
        if name not in self._services:
            self._services[name] = self._node.create_client(
                kind, f'{self._server}/missions/{name}')
        client = self._services[name]
        if not client.wait_for_service(10.0):
            raise TimeoutError(f'{client.srv_name} is not there: is the node started?')
        response = self.wait_for(client.call_async(kind.Request(**fields)))
        if getattr(response, 'error_code', 0):
            raise RuntimeError(f'[{response.error_code}] {response.error_msg}')
        return response
