# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Serve OpenAI's interface in front of a running lfm node."""
from __future__ import annotations

from collections.abc import Sequence
import sys
import threading

from lfm_ros.errors import LfmError
from lfm_ros.openai.node_backend import NodeBackend
from rcl_interfaces.msg import ParameterDescriptor
import rclpy
from rclpy.action.server import RCLError
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

UnknownROSArgsError = rclpy_implementation.UnknownROSArgsError
_DEFAULTS = {
    'server': ('/lfm', 'Name of the lfm node, with its namespace.'),
    'host': ('127.0.0.1', 'Address to listen on; one that other machines reach needs a key.'),
    'port': (8000, 'Port; 0: a free one.'),
    'key_file': ('', 'File with the key that clients must send.'),
    'conversations': (16, 'Conversations that are kept to go on with.'),
    'wait': (60.0, 'Seconds to wait for the lfm node.')}


def main(args: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; return the exit code, 2 when something cannot be used."""
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = Node('lfm_openai')
    except (RCLError, UnknownROSArgsError) as error:
        get_logger('lfm_openai').fatal(' '.join(str(error).split()))
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=_spin, args=(executor,), daemon=True)
    spinning.start()
    try:
        _serve(node)
        return 0
    except (LfmError, TimeoutError, ParameterException) as error:
        node.get_logger().fatal(' '.join(str(error).split()))
        return 2
    except ImportError as error:
        node.get_logger().fatal(f'the Python package {error.name} is missing: install fastapi '
                                'and uvicorn')
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        rclpy.try_shutdown()
        spinning.join()


def _serve(node: Node) -> None:
    from lfm_ros.http.app import make_app
    from lfm_ros.http.app import Settings
    from lfm_ros.http.guard import Limits
    from lfm_ros.http.server import hosts_of
    from lfm_ros.http.server import listen
    from lfm_ros.http.server import read_key
    from lfm_ros.http.server import serve
    from lfm_ros.http.server import url_of
    given = {name: node.declare_parameter(
        name, default, ParameterDescriptor(description=text, read_only=True)).value
        for name, (default, text) in _DEFAULTS.items()}
    key = read_key(given['key_file']) if given['key_file'] else ''
    with listen(given['host'], given['port'], key) as sock:
        backend = NodeBackend(node, given['server'])
        backend.wait(given['wait'])
        limits = Limits(key, hosts=hosts_of(given['host']))
        app = make_app(backend, Settings(0, given['conversations'], limits))
        serve(app, sock, lambda: node.get_logger().info(
            f'{backend.model.name} of {given["server"]} is served at {url_of(sock)}'))


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        pass


if __name__ == '__main__':
    sys.exit(main())
