# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Services and actions that are answered later, from outside their callbacks.

A callback that waits would hold the executor. rclpy lets a coroutine wait instead, but its
executors poll every waiting coroutine without pause (rclpy 9.1, executors.py,
_wait_for_ready_callbacks), which takes a core away from the model. So nothing waits here: the
request is handed over, and its answer is sent when it is there.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer
from rclpy.action.server import RCLError
from rclpy.action.server import ServerGoalHandle
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile

# With the 10 of rclpy, the eleventh of several calls at once is lost without a word.
SERVICE_QOS = QoSProfile(depth=1000)


def call_in_executor(node: Node, work: Callable[[], Any]) -> None:
    """Do something in the thread of the node's executor; from any thread."""
    def run() -> None:
        try:
            with node.handle:
                work()
        except InvalidHandle:  # it was destroyed meanwhile; nothing else in its process may suffer
            pass

    executor = node.executor
    if executor and node.context.ok():
        executor.create_task(run)


class DeferredService:
    """
    A service whose answers are sent later.

    :param handle: called with the request and a function that sends the response; that function
        must be called once, in the thread of the executor.
    """

    def __init__(self, node: Node, kind: Any, name: str,
                 handle: Callable[[Any, Callable[[Any], None]], None]) -> None:
        self._handle = handle
        self._logger = node.get_logger()
        self._service = node.create_service(kind, name, lambda request, _: request,
                                            qos_profile=SERVICE_QOS)
        self._send = self._service.send_response
        # The executor sends what the callback returns, with the header that it alone knows.
        # The callback gives back the request, so both arrive here.
        self._service.send_response = self._begin  # type: ignore[method-assign]

    def _begin(self, request: Any, header: Any) -> None:
        self._handle(request, lambda response: self._end(response, header))

    def _end(self, response: Any, header: Any) -> None:
        try:
            self._send(response, header)
        except RCLError as error:
            self._logger.warning(f'a response was not sent, its client may be gone: {error}')


class DeferredActionServer(ActionServer):
    """
    An action server whose goals are finished later.

    :param begin: called with every accepted goal; :meth:`finish` must follow once, in the thread
        of the executor.
    """

    def __init__(self, node: Node, kind: Any, name: str,
                 begin: Callable[[ServerGoalHandle], None], **options: Any) -> None:
        self._begin = begin
        super().__init__(node, kind, name, execute_callback=lambda goal: None,
                         goal_service_qos_profile=SERVICE_QOS,
                         result_service_qos_profile=SERVICE_QOS,
                         cancel_service_qos_profile=SERVICE_QOS, **options)

    def notify_execute(self, goal_handle: ServerGoalHandle, execute_callback: Any) -> None:
        """Begin the work on a goal that was accepted; rclpy calls this."""
        self._begin(goal_handle)

    def finish(self, goal_handle: ServerGoalHandle,
               end: Callable[[ServerGoalHandle], Any]) -> None:
        """
        Finish a goal.

        :param end: sets the final state of the goal and returns the result.
        """
        super().notify_execute(goal_handle, end)
