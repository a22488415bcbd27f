# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Warn of other nodes with the same name, which would answer the same requests."""
from __future__ import annotations

from rclpy.node import Node


class Namesakes:
    """
    Looks for other nodes of the full name of a node in its ROS domain.

    One that was killed before this node started is not seen: only who lives announces itself.

    :ivar count: how many there were when it was last looked.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.count = 0

    def notice(self) -> str:
        """
        Look, log what has changed, and return what an operator must know; empty: nothing.

        It takes some microseconds: DDS has the names already.
        """
        if not self._node.context.ok():
            return ''
        name = self._node.get_fully_qualified_name()
        names = [f'{namespace.rstrip("/")}/{base}'
                 for base, namespace in self._node.get_node_names_and_namespaces()]
        before, self.count = self.count, max(0, names.count(name) - 1)
        text = (f'another node is named {name} in this ROS domain, so requests reach both and '
                'either may answer: stop one, or give it another name or ROS_DOMAIN_ID')
        if self.count > before:
            self._node.get_logger().warning(text)
        elif before and not self.count:
            self._node.get_logger().info(f'no other node is named {name} any more')
        return text if self.count else ''
