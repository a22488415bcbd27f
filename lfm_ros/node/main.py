# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The executable `lfm_node`."""
from __future__ import annotations

from collections.abc import Sequence
import logging

from lfm_ros.node.lfm_node import LfmNode
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger


class _ToRos(logging.Handler):
    """Hands what the engine and the missions log on to ROS."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record with the severity that it has."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    rclpy.init(args=list(args) if args is not None else None)
    node = LfmNode()
    logging.getLogger('lfm_ros').addHandler(_ToRos(node.get_logger()))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    main()
