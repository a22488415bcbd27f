# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bond by which a lifecycle manager, such as that of Nav2, learns that the node lives."""
from __future__ import annotations

from importlib import import_module
from typing import Any

from rclpy.node import Node

TOPIC = 'bond'  # in the namespace of the node, where Nav2 has it
TIMEOUT = 4.0  # seconds without a heartbeat after which the other side is dead; as Nav2 has it


class LifecycleBond:
    """
    Keeps a bond with a lifecycle manager while the node is active, if there is `bondpy`.

    Heartbeats come from a thread of bondpy; neither the model nor the executor holds them up.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bond: Any = None

    def start(self, period: float, wanted: bool) -> None:
        """
        Make the bond.

        :param period: seconds between two heartbeats; 0: no bond.
        :param wanted: whether it was asked for; it is then logged when it cannot be had.
        """
        self.close()
        if period <= 0:
            return
        try:
            bondpy = import_module('bondpy.bondpy')
        except ImportError as error:
            if wanted:
                self._node.get_logger().info('there is no heartbeat for a lifecycle manager '
                                             f'({error}): install bondpy')
            return
        self._bond = bondpy.Bond(self._node, TOPIC, self._node.get_name())
        self._bond.set_heartbeat_period(period)
        self._bond.set_heartbeat_timeout(TIMEOUT)
        self._bond.start()

    def stop(self) -> None:
        """Break the bond; it goes on to say so until the other side has heard it."""
        if self._bond and self._node.context.ok():
            self._bond.break_bond()

    def close(self) -> None:
        """Give what the bond uses of the node back."""
        bond, self._bond = self._bond, None
        if bond and self._node.context.ok():
            bond.shutdown()
            # It leaves them, destroyed, in the lists of the node, on which an executor stumbles.
            self._node.destroy_subscription(bond.sub)
            self._node.destroy_publisher(bond.pub)
