# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
One side of a bond as that of bond_core 4: what lfm_ros calls of it, and when it sends what.

The wheels lack the message bond/Status as well, so its fields are sent as JSON in a string.
"""
from __future__ import annotations

import json
import threading
from typing import Any
import uuid

from rclpy.node import Node
from std_msgs.msg import String


class Bond:
    """A bond whose other side may not be there."""

    def __init__(self, node: Node, topic: str, bond_id: str, on_broken: Any = None,
                 on_formed: Any = None) -> None:
        self.node = node
        self.topic = topic
        self.id = bond_id
        self.instance_id = str(uuid.uuid4())
        self.pub = node.create_publisher(String, topic, 1)
        self._started = self._broken = self._is_shutdown = False
        self._condition = threading.Condition(threading.RLock())
        self._period, self._timeout = 1.0, 4.0

    def set_heartbeat_period(self, period: float) -> None:
        """Set the seconds between two heartbeats."""
        assert not self._started
        self._period = period

    def set_heartbeat_timeout(self, timeout: float) -> None:
        """Set the seconds after which the other side is dead."""
        assert not self._started
        self._timeout = timeout

    def start(self) -> None:
        """Begin to send heartbeats."""
        self.sub = self.node.create_subscription(String, self.topic, lambda _: None, 1)
        self._started = True
        threading.Thread(target=self._loop, daemon=True).start()

    def break_bond(self) -> None:
        """Tell the other side that it is over."""
        with self._condition:
            self._broken = True
            self._publish(False)
            self._condition.notify_all()

    def shutdown(self) -> None:
        """Break the bond and give the topic back."""
        if not self._is_shutdown:
            self.sub.destroy()
            with self._condition:
                self._is_shutdown = True
                if not self._broken:
                    self.break_bond()
                self.pub.destroy()

    def _loop(self) -> None:
        with self._condition:
            while not (self._broken or self._is_shutdown):
                self._publish(True)
                self._condition.wait(self._period)

    def _publish(self, active: bool) -> None:
        self.pub.publish(String(data=json.dumps({
            'id': self.id, 'instance_id': self.instance_id, 'active': active,
            'heartbeat_timeout': self._timeout, 'heartbeat_period': self._period})))
