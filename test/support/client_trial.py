# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask through a node that is spun in one of several ways, in a process of its own.

    python test/support/client_trial.py WAY

It writes what came of each call as one line of JSON.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable
import json
import sys
import threading
from typing import Any

from lfm_ros.client import LfmClient
from lfm_ros.msg import Response
import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

EXECUTORS = {'single': SingleThreadedExecutor, 'multi': MultiThreadedExecutor}
DEADLINE = 60.0


def walk(client: LfmClient) -> bool:
    """Walk an answer; return whether its pieces are the whole of it."""
    generation = client.generate('go on', aside=True, max_tokens=8)
    return ''.join(generation) == generation.result().text != ''


def leave(client: LfmClient) -> bool:
    """Leave an answer after its first piece; return whether it ends, before or by that."""
    generation = client.generate('go on', 'left', max_tokens=400)
    for _ in generation:
        break
    return generation.result(DEADLINE).finish_reason in (
        Response.FINISH_CANCELLED, Response.FINISH_STOP, Response.FINISH_CONTEXT)


async def walk_async(client: LfmClient) -> bool:
    """Walk an answer in a coroutine."""
    generation = client.generate('go on', aside=True, max_tokens=8)
    return ''.join([piece async for piece in generation]) == generation.text != ''


CALLS: dict[str, Callable[[LfmClient], Any]] = {
    'ask': lambda client: client.ask('a', aside=True, max_tokens=2).text != '',
    'missions': lambda client: isinstance(client.missions(), list),
    'choose': lambda client: client.choose('a', 'yes', aside=True).text,
    'walk': walk, 'leave': leave, 'walk in asyncio': lambda c: asyncio.run(walk_async(c))}


def outcome(call: Callable[[LfmClient], Any], client: LfmClient) -> Any:
    """Return what a call gives, or what it raises."""
    try:
        return call(client)
    except RuntimeError as error:
        return f'RuntimeError: {error}'


def in_callback(node: Node, work: Callable[[], Any]) -> Any:
    """Do something in a callback of a node that another thread spins."""
    done, found = threading.Event(), []

    def callback() -> None:
        found.append(work())
        done.set()

    guard = node.create_guard_condition(callback, callback_group=ReentrantCallbackGroup())
    guard.trigger()
    assert done.wait(DEADLINE), 'it hangs'
    node.destroy_guard_condition(guard)
    return found[0]


def main(way: str) -> None:
    """Do all calls in one of the ways."""
    rclpy.init()
    node = rclpy.create_node('user')
    client = LfmClient(node)
    kind, _, place = way.partition(' ')
    if kind == 'none':
        client.wait()
        found = {name: outcome(call, client) for name, call in CALLS.items()}
    else:
        executor = EXECUTORS[kind]()
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin)
        thread.start()
        client.wait()
        if place == 'callback':
            found = {name: in_callback(node, lambda call=call: outcome(call, client))
                     for name, call in CALLS.items()}
        elif place == 'coroutine':
            found = {'walk': client.wait_for(
                executor.create_task(walk_async, client), DEADLINE)}
        else:
            found = {name: outcome(call, client) for name, call in CALLS.items()}
        executor.shutdown()
        thread.join()
    node.destroy_node()
    rclpy.shutdown()
    print(json.dumps(found))


if __name__ == '__main__':
    main(sys.argv[1])
