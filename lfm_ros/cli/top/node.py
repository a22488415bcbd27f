# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a running node tells about itself, for `lfm top`; imports ROS."""
from __future__ import annotations

from collections.abc import Callable
import os
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.msg import Status
from rclpy.context import Context
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile

MAX_SILENCE = 3.0  # seconds; the node sends a status once a second
LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')
CONTEXT_LENGTH = 'context length'  # a key of the diagnostics
_STATUS = '/status'
_REACTION = 0.2  # seconds in which Python looks after signals


class Watcher:
    """
    Listens to one node; a context manager.

    :param name: of the node, with its namespace.
    :ivar status: the last ``msg/Status`` of it; None: none has come yet.
    :ivar diagnostics: the last ``DiagnosticStatus`` of it; None: none has come yet.
    :raises LfmError: when the name cannot be one, or ROS 2 cannot be used.
    """

    def __init__(self, name: str) -> None:
        self.name = '/' + name.strip('/')
        self.status: Status | None = None
        self.diagnostics: DiagnosticStatus | None = None
        self._came = time.monotonic()
        self._context = Context()
        try:
            self._context.init(args=[])
            self._node = Node(f'_lfm_top_{os.getpid()}', context=self._context,
                              use_global_arguments=False, enable_rosout=False,
                              start_parameter_services=False)
            self._node.create_subscription(
                Status, self.name + _STATUS, self._on_status,
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        except NameValidationException as error:
            self._context.try_shutdown()
            raise LfmError(ErrorCode.INVALID_VALUE, f'--node is {name!r}, which is not a node '
                           "name: give one like '/lfm' or '/robot/lfm'") from error
        except RuntimeError as error:  # of rcl, over several lines
            reason = ' '.join(str(error).split())
            raise LfmError(ErrorCode.NOT_ACTIVE, f'ROS 2 cannot be used ({reason}): check '
                           'ROS_DOMAIN_ID, RMW_IMPLEMENTATION and ROS_SECURITY_*') from error
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: Any) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    @property
    def domain(self) -> int:
        """The ROS domain in which it listens."""
        return int(self._context.get_domain_id())

    @property
    def failure(self) -> str:
        """Why the last status is not that of now; empty while they come."""
        silence = time.monotonic() - self._came
        if silence <= MAX_SILENCE:
            return ''
        if self._node.count_publishers(self.name + _STATUS):
            return f'no status for {silence:.0f} s: the node is gone, hangs or opens a model'
        return f'the node is gone: no status for {silence:.0f} s'

    def listen(self, seconds: float, enough: Callable[[], Any] = lambda: False) -> None:
        """Take in what comes, for a while or until it is enough."""
        end = time.monotonic() + seconds
        while not enough() and (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, _REACTION))

    def others(self) -> list[str]:
        """Return the names of all nodes of this kind that can be seen."""
        kind = 'lfm_ros/msg/Status'
        return sorted(topic.removesuffix(_STATUS) for topic, kinds
                      in self._node.get_topic_names_and_types()
                      if kind in kinds and self._node.count_publishers(topic))

    def json(self) -> dict[str, Any]:
        """Return what is known as plain data."""
        found = self.diagnostics
        return {'node': self.name, 'status': _plain(self.status), 'diagnostics': found and {
            'level': LEVELS[found.level[0]], 'message': found.message,
            'values': {pair.key: pair.value for pair in found.values}}}

    def _on_status(self, message: Status) -> None:
        self.status, self._came = message, time.monotonic()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f'{self.name[1:]}: language model':
                self.diagnostics = status


def _plain(value: Any) -> Any:
    """Return a message as dictionaries and lists."""
    if hasattr(value, 'get_fields_and_field_types'):
        return {name: _plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    return [_plain(v) for v in value] if isinstance(value, list) else value
