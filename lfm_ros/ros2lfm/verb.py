# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What all verbs share: the extension point, and the way to the node."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
import os

from lfm_ros.cli.output import visible
from lfm_ros.client import AnswerError
from lfm_ros.client import LfmClient
import rclpy
from rclpy.duration import Duration
from rclpy.signals import SignalHandlerOptions
from ros2cli.plugin_system import PLUGIN_SYSTEM_VERSION
from ros2cli.plugin_system import satisfies_version

TIMEOUT = 5.0  # seconds to wait for a node


class VerbExtension:
    """
    The extension point of verbs of `ros2 lfm`.

    ``NAME`` is set to the name of the entry point. A verb has ``add_arguments`` and ``main``.
    """

    NAME = None
    EXTENSION_POINT_VERSION = '0.1'

    def __init__(self) -> None:
        satisfies_version(PLUGIN_SYSTEM_VERSION, '^0.1')

    def add_arguments(self, parser: argparse.ArgumentParser, cli_name: str) -> None:
        """Add the arguments of this verb."""

    def main(self, *, args: argparse.Namespace) -> int | str:
        """Do it; return 0, or the sentence that says why not."""
        raise NotImplementedError


def add_node_argument(parser: argparse.ArgumentParser) -> None:
    """Add the name of the node."""
    parser.add_argument('--node', default='/lfm', metavar='NAME', help='name of the node, with '
                        'its namespace (default: %(default)s)')


def add_mission_argument(parser: argparse.ArgumentParser) -> None:
    """Add the name of a mission as an option."""
    parser.add_argument('--mission', default='', metavar='NAME',
                        help="the conversation to continue (default: 'default')")


@contextmanager
def connected(args: argparse.Namespace) -> Iterator[LfmClient]:
    """
    Give a client of the node, and at the end let what was published arrive.

    :raises TimeoutError: when there is no such node.
    """
    # The handlers of rclpy would end all communication at ctrl-C, and nothing could be cancelled.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f'_ros2cli_lfm_{os.getpid()}', start_parameter_services=False)
    try:
        client = LfmClient(node, '/' + args.node.strip('/'))
        client.wait(TIMEOUT)
        try:
            yield client
        except (AnswerError, ValueError) as error:  # ros2cli prints it as it is
            raise RuntimeError(visible(str(error))) from error
        for publisher in node.publishers:
            publisher.wait_for_all_acked(Duration(seconds=TIMEOUT))
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
