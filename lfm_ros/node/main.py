# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The executable `lfm_node`."""
from __future__ import annotations

from collections.abc import Sequence
import logging
import os
import signal
import socket
import sys
import threading
import time

from lfm_ros.node.lfm_node import LfmNode
from lfm_ros.plain_log import PlainFormatter
from lfm_ros.process import return_large_memory
from lfm_ros.serving.request_errors import SHUT_DOWN
import rclpy
from rclpy.action.server import RCLError
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

UnknownROSArgsError = rclpy_implementation.UnknownROSArgsError
LAST_ANSWERS = 0.5  # seconds
# Seconds in which another signal is the same request: launch and what manages services (systemd, a
# container) tell every process of a group, and launch then tells the node once more.
PASSED_ON = 1.0
HELP = """\
usage: lfm_node [--ros-args [-p NAME:=VALUE ...] [--params-file FILE] [-r FROM:=TO ...]]

Run the lfm node until SIGINT or SIGTERM.

  lfm_node --ros-args -p model.path:=demo       the small model in this package
  lfm_node --ros-args -p model.path:=FOLDER -p missions.dir:=FOLDER
  lfm_node --ros-args --params-file FILE        parameters from a file
  lfm_node --ros-args -r __ns:=/robot -r __node:=brain -r '~/image:=/camera/image'

docs/parameters.md and 'ros2 param describe /lfm NAME' explain every parameter. The exit code is 0,
2 when a parameter cannot be used, or 75 when the model hangs for good."""
HUNG = 75  # exit code; EX_TEMPFAIL of sysexits.h: starting it again may help


class _ToRos(logging.Handler):
    """Hands what the engine and the missions log on to ROS."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self.setFormatter(PlainFormatter())
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
    Run the node until SIGINT or SIGTERM; what runs and what waits is answered before it ends.

    When the model hangs for good the process ends with exit code HUNG, since nothing else can end
    the thread that runs it.

    :returns: the exit code; 2 when a parameter cannot be used.
    """
    # rclpy's own handlers would end all communication first, and no answer could be sent.
    if not hasattr(Node, 'add_post_set_parameters_callback'):
        get_logger('lfm').fatal('this ROS 2 is too old (Humble?): use Jazzy or a later one')
        return 2
    return_large_memory()
    signals = _catch_signals()
    ending = threading.Event()
    argv = sys.argv if args is None else ['lfm_node', *args]
    try:
        if (status := _check_arguments(remove_ros_args(argv)[1:])) is not None:
            return status
        rclpy.init(args=list(args) if args is not None else None,
                   signal_handler_options=SignalHandlerOptions.NO)
        node = LfmNode()
    except (ParameterException, RCLError, UnknownROSArgsError) as error:
        # Of a keystore or a ROS_DOMAIN_ID, too.
        get_logger('lfm').fatal(' '.join(str(error).split()))
        rclpy.try_shutdown()
        return 2
    node.on_hang = _end_hung
    ours = logging.getLogger('lfm_ros')
    ours.addHandler(_ToRos(node.get_logger()))
    ours.setLevel(logging.INFO)  # ROS has levels of its own
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threading.Thread(target=_await_signal, args=(signals, ending, executor), daemon=True).start()
    try:
        while not ending.is_set() and rclpy.ok():
            executor.spin_once()
        if node.stop(SHUT_DOWN):
            _send_answers(executor)
        if node.is_hung:  # whoever asked it to end came first
            _end_hung()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _check_arguments(arguments: Sequence[str]) -> int | None:
    """
    Print the help, or what is wrong with arguments that are none of ROS.

    :returns: the exit code; None: go on.
    """
    if not arguments:
        return None
    if arguments[0] in ('-h', '--help'):
        print(HELP)
        return 0
    print(f"lfm_node: '{arguments[0]}' is not an argument of the node: write parameters as "
          "--ros-args -p NAME:=VALUE; see 'lfm_node --help'", file=sys.stderr)
    return 2


def _catch_signals() -> socket.socket:
    """Return a socket from which the number of every signal can be read."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # Python runs handlers in the main thread, which waits in the executor until something comes;
    # the number is written at once, whichever thread the signal interrupts.
    signal.set_wakeup_fd(sender.detach())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return receiver


def _await_signal(signals: socket.socket, ending: threading.Event, executor: Executor) -> None:
    signals.recv(1)
    first = time.monotonic()
    ending.set()
    executor.create_task(lambda: None)  # wake() alone goes on waiting for a message or a timer
    while True:
        number = signals.recv(1)[0]
        if time.monotonic() - first > PASSED_ON:
            os._exit(128 + number)  # whoever asks twice does not want to wait


def _send_answers(executor: Executor) -> None:
    """Let the executor send what was answered last: responses, results of actions."""
    end = time.monotonic() + LAST_ANSWERS
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=LAST_ANSWERS / 10)


def _end_hung() -> None:
    """End the process once the executor has sent the last answers."""
    time.sleep(LAST_ANSWERS)
    os._exit(HUNG)


if __name__ == '__main__':
    sys.exit(main())
