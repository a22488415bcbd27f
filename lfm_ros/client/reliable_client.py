# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A service client that loses no reply."""
from __future__ import annotations

import threading
import time
from typing import Any
import uuid

from action_msgs.srv import CancelGoal
from lfm_ros import action
from lfm_ros import msg
from lfm_ros import srv
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from rclpy.type_support import check_for_type_support

_STEP = 0.01  # seconds between two checks; rclpy does not wake who waits
_AGAIN = 0.5  # seconds until a reply that did not come is asked for again

# An interface is loaded at its first use, part by part, and another thread that uses it meanwhile
# takes it for complete: its executor would end at the first reply. While this file is imported,
# other threads wait.
for _kind in (*vars(action).values(), *vars(msg).values(), *vars(srv).values()):
    if isinstance(_kind, type):
        check_for_type_support(_kind)


class SafeActionClient(ActionClient):
    """
    An action client that can be used from any thread.

    rclpy's own sends a request and then notes that it waits for the reply (7.1 and, for goals,
    9.1; ros2/rclpy#1123). A reply that an executor in another thread takes in between is lost.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._sending = threading.RLock()
        super().__init__(*arguments, **options)

    def take_data(self) -> Any:
        """Take what came, but for replies to what is just being sent."""
        with self._sending:
            return super().take_data()

    def send_goal_async(self, *arguments: Any, **options: Any) -> Future:
        """Send a goal."""
        with self._sending:
            return super().send_goal_async(*arguments, **options)

    def _cancel_goal_async(self, *arguments: Any) -> Future:
        with self._sending:
            return super()._cancel_goal_async(*arguments)

    def _get_result_async(self, *arguments: Any) -> Future:
        with self._sending:
            return super()._get_result_async(*arguments)


def wait_until_known(node: Node, server: str, timeout: float) -> bool:
    """
    Wait until an lfm node knows all that was made in the context of a node.

    A client sees a server before that sees the client, and a reply that is sent in between is
    lost: rmw_fastrtps waits 100 ms for the client to be found (ros2/rmw_fastrtps#842), and
    nothing in ROS tells when it was. But DDS announces what a process listens to in order, over
    one reliable channel. So when a client that is made now gets a reply, all earlier ones will.
    It cancels a goal that never was: every action server answers that at once, and survives when
    the answer cannot be sent.

    :returns: False when there was no reply in that many seconds.
    """
    end = time.monotonic() + timeout
    # The user's node may not be spun yet, or by the very thread that waits here.
    visitor = Node(f'_{node.get_name()}_visitor', namespace=node.get_namespace(),
                   context=node.context, use_global_arguments=False, enable_rosout=False,
                   start_parameter_services=False)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(visitor)
    try:
        client = visitor.create_client(CancelGoal, f'{server}/generate/_action/cancel_goal')
        request = CancelGoal.Request()
        request.goal_info.goal_id.uuid = list(uuid.uuid4().bytes)
        known: Future = Future()
        while not known.done() and time.monotonic() < end:
            ready = client.service_is_ready()
            if ready:
                client.call_async(request).add_done_callback(known.set_result)
            executor.spin_until_future_complete(known, _AGAIN if ready else _STEP)
        return known.done()
    finally:
        executor.shutdown()
        visitor.destroy_node()
