# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a thread may wait for an answer: not when no other one is left to receive it."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import sys
import threading
import time
from types import FrameType
from typing import Any
import weakref

import rclpy
from rclpy.executors import Executor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from rclpy.task import Task

_LOOK = 1.0  # seconds between two looks whether ROS was shut down
_LONGEST = 1e9  # seconds; of much more ROS cannot count the nanoseconds
_STALL = 0.1  # seconds; looking at a coroutine takes microseconds
_lock = threading.Lock()
_waiting: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # in callbacks


def executor_of(node: Node) -> Executor | None:
    """Return the executor that a node is in."""
    # rclpy leaves the executor of its last spin set, though the node is no longer in it.
    executor = node.executor
    return executor if executor is not None and node in executor.get_nodes() else None


@contextmanager
def waiting(node: Node, instead: str) -> Iterator[None]:
    """
    Wait in here for what the executor of a node has to receive.

    :param instead: what the caller should do in a callback.
    :raises RuntimeError: at once, when no thread is left that could receive it.
    """
    executor = executor_of(node)
    if executor is None:  # it is spun here
        yield
        return
    if not _in_callback(executor):
        if len(sys._current_frames()) == 1:
            raise RuntimeError('this would wait for ever, since the executor of the node is not '
                               'spun: spin it in another thread, or take the node out of it')
        yield
        return
    with _lock:
        count = _waiting.get(executor, 0) + 1
        if count >= _threads(executor):
            raise RuntimeError('this would wait for ever in a callback, since no thread of the '
                               f'executor is left to receive the answer: {instead}, or spin the '
                               'node with a MultiThreadedExecutor that has more threads')
        _waiting[executor] = count
    try:
        yield
    finally:
        with _lock:
            _waiting[executor] -= 1


def wait_until_done(node: Node, future: Future, timeout: float) -> bool:
    """
    Wait for a future, and spin the node where no executor does; return whether it is done.

    :raises RuntimeError: when ROS is shut down meanwhile.
    """
    timeout = min(timeout, _LONGEST)
    if executor_of(node) is None:
        if node.context.ok():
            _spin(node, future, timeout)
    else:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        end = time.monotonic() + timeout
        while not done.wait(max(0.0, min(_LOOK, end - time.monotonic()))) and node.context.ok() \
                and time.monotonic() < end:
            if executor_of(node) is None:  # another thread has spun it until now
                _spin(node, future, max(0.0, end - time.monotonic()))
                break
    if not (future.done() or node.context.ok()):
        raise RuntimeError('ROS was shut down while this waited for an answer')
    return bool(future.done())


def _spin(node: Node, future: Future, timeout: float) -> None:
    """Spin a node that no executor spins, by the global one unless that spins others by now."""
    if node.context is rclpy.get_default_context() and \
            not rclpy.get_global_executor().get_nodes():
        rclpy.spin_until_future_complete(node, future, timeout_sec=timeout)
        return
    executor = SingleThreadedExecutor(context=node.context)
    try:
        rclpy.spin_until_future_complete(node, future, executor, timeout)
    finally:
        executor.shutdown()


def wake(node: Node, again: bool = False) -> None:
    """
    Make the executor of a node check on its coroutines.

    A MultiThreadedExecutor looks at each once when anything happens (rclpy 7 to 9): not when a
    future is done, nor again where another thread was just looking.

    :param again: wake it later, too, since nothing else will.
    """
    executor = executor_of(node)
    if executor is None:
        return
    executor.wake()
    if again and _threads(executor) > 1:
        later = threading.Timer(_STALL, _wake_if_there, (weakref.ref(executor),))
        later.daemon = True
        later.start()


def _wake_if_there(executor: weakref.ref[Executor]) -> None:
    with suppress(AttributeError, RuntimeError):  # it may have been shut down
        executor().wake()  # type: ignore[union-attr]


def runs_here(code: Any) -> bool:
    """Return whether this thread is inside of a function, by its code."""
    return any(frame.f_code is code for frame in _frames())


def _in_callback(executor: Executor) -> bool:
    """Return whether this thread runs a callback of an executor, which is always in a task."""
    return any(frame.f_code is Task.__call__.__code__
               and frame.f_locals['self']._executor() is executor for frame in _frames())


def _threads(executor: Executor) -> int:
    """Return how many threads run the callbacks of an executor."""
    return getattr(getattr(executor, '_executor', None), '_max_workers', 1)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame:
        yield frame
        frame = frame.f_back
