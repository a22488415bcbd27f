# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The executable `lfm_node`."""
from __future__ import annotations

from collections.abc import Sequence
import logging
import sys

from lfm_ros.node.lfm_node import LfmNode
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.logging import get_logger


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
    """
    Run the node until it is told to stop.

    :returns: the exit code; 2 when a parameter cannot be used.
    """
    rclpy.init(args=list(args) if args is not None else None)
    node = None
    try:
        node = LfmNode()
        logging.getLogger('lfm_ros').addHandler(_ToRos(node.get_logger()))
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ParameterException as error:
        get_logger('lfm').fatal(str(error))
        return 2
    except Exception:
        if rclpy.ok():
            raise
        # A signal ended the context while something was being made or done in it.
    finally:
        if node:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
