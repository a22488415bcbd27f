#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast a node answers other calls while its model generates without a pause.

Starts the real node with MODEL in a process of its own, keeps it answering, and times calls of
get_parameters, get_state, missions/list, and cancel requests of goals that run and that wait.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from lfm_ros import srv
from lfm_ros.action import Generate
from lfm_ros.msg import Query
from lfm_ros.msg import Sampling
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

DEADLINE = 120.0
PROMPT = 'Tell me all that you know of robots, one thing after the other. '
MAX_TOKENS = 1000
CALLS = {
    'get_parameters': (GetParameters, GetParameters.Request(names=['sampling.temperature'])),
    'get_state': (GetState, GetState.Request()),
    'missions/list': (srv.ListMissions, srv.ListMissions.Request()),
}


class Node:
    """
    A node under load, and a client of it.

    :param model: folder of the model.
    :param arguments: more arguments for the node, such as ``-p model.threads:=1``.
    """

    def __init__(self, model: str, arguments: list[str]) -> None:
        domain = random.randint(1, 100)
        env = dict(os.environ, ROS_DOMAIN_ID=str(domain),
                   ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
        os.environ.update(env)
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'lfm_ros.node.start', '--ros-args', '-p',
             f'model.path:={model}', '-p', 'queue.size:=100', '--log-level', 'warn', *arguments],
            env=env)
        rclpy.init(domain_id=domain)
        self.node = rclpy.create_node('responsiveness')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.goals = ActionClient(self.node, Generate, '/lfm/generate',
                                  feedback_sub_qos_profile=QoSProfile(depth=1000))
        self.clients = {n: self.node.create_client(kind, f'/lfm/{n}')
                        for n, (kind, _) in CALLS.items()}
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.load = True
        self.tokens = 0

    def _spin(self) -> None:
        try:
            self.executor.spin()
        except ExternalShutdownException:
            pass

    def wait_until_active(self) -> None:
        """Wait until the model is open."""
        if not self.clients['get_state'].wait_for_service(DEADLINE):
            raise SystemExit('responsiveness: the node did not start, see its messages above')
        started = time.monotonic()
        while self.call('get_state')[1].current_state.label != 'active':
            if self.process.poll() is not None or time.monotonic() > started + DEADLINE:
                raise SystemExit('responsiveness: the model was not opened, see above')
            time.sleep(0.2)

    def call(self, name: str) -> tuple[float, Any]:
        """Call a service; return the seconds it took and the response."""
        request = CALLS[name][1]
        return timed(lambda: self.clients[name].call_async(request))

    def start_goal(self, on_delta: Callable[[Any], None], prompt: str = PROMPT) -> Any:
        """Send a goal and return its handle."""
        query = Query(prompt=prompt, aside=True, max_tokens=MAX_TOKENS, timeout=0.0,
                      sampling=Sampling(temperature=1.0, min_p=0.0))
        future = self.goals.send_goal_async(
            Generate.Goal(query=query), lambda f: on_delta(f.feedback.token))
        return timed(lambda: future)[1]

    def keep_busy(self) -> None:
        """Ask again and again, so that the model never rests."""
        def count(token: Any) -> None:
            self.tokens += 1

        while self.load:
            timed(self.start_goal(count).get_result_async)

    def stop(self) -> None:
        """End the node."""
        self.load = False
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        rclpy.try_shutdown()
        self._thread.join(10)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds until the future of a call is complete, and its result."""
    done = threading.Event()
    started = time.perf_counter()
    future = call()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(DEADLINE):
        raise SystemExit(f'responsiveness: no answer within {DEADLINE:g} s')
    return time.perf_counter() - started, future.result()


def cancel_once(node: Node) -> tuple[float, float, int]:
    """
    Cancel a goal that runs.

    :returns: seconds to the acknowledgment, seconds to the result, and tokens that came after
        the acknowledgment.
    """
    began, pieces = threading.Event(), []

    def take(token: Any) -> None:
        pieces.append(token)
        began.set()

    goal = node.start_goal(take)
    if not began.wait(DEADLINE):
        raise SystemExit('responsiveness: no token within the time')
    started = time.perf_counter()
    acknowledged, _ = timed(goal.cancel_goal_async)
    seen = len(pieces)
    timed(goal.get_result_async)
    ended = time.perf_counter() - started
    return acknowledged, ended, sum(bool(p.text) for p in pieces[seen:])


def summary(seconds: list[float]) -> dict[str, float]:
    """Return the percentiles of latencies in milliseconds."""
    found = sorted(1000 * s for s in seconds)

    def at(share: float) -> float:
        return round(found[min(len(found) - 1, int(share * len(found)))], 2)

    return {'p50': at(0.5), 'p99': at(0.99), 'max': at(1.0)}


def measure(node: Node, count: int) -> dict[str, Any]:
    """Return the table as a dictionary; latencies in milliseconds."""
    found: dict[str, Any] = {}
    load = threading.Thread(target=node.keep_busy, daemon=True)
    load.start()
    while not node.tokens:
        time.sleep(0.01)
    for name in CALLS:
        found[name] = summary([node.call(name)[0] for _ in range(count)])
    waiting = []
    for _ in range(count):
        goal = node.start_goal(lambda _: None)
        waiting.append(timed(goal.cancel_goal_async)[0])
    found['cancel in the queue'] = summary(waiting)
    node.load = False
    load.join(DEADLINE)
    cancels = [cancel_once(node) for _ in range(count)]
    found['cancel, acknowledged'] = summary([c[0] for c in cancels])
    found['cancel, goal ended'] = summary([c[1] for c in cancels])
    found['tokens after cancel'] = max(c[2] for c in cancels)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('model', help='folder of the model, or demo')
    parser.add_argument('--count', type=int, default=200, help='calls of each kind')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments, for_node = parser.parse_known_args()
    if arguments.model != 'demo':
        arguments.model = str(Path(arguments.model).resolve())
    node = Node(arguments.model, for_node)
    try:
        node.wait_until_active()
        found = measure(node, arguments.count)
    finally:
        node.stop()
    if arguments.json:
        print(json.dumps(found))
        return 0
    print(f'{"milliseconds":24}{"p50":>9}{"p99":>9}{"max":>9}')
    for name, row in found.items():
        if isinstance(row, dict):
            print(f'{name:24}' + ''.join(f'{value:9.2f}' for value in row.values()))
    print(f'most tokens that came after a cancel was acknowledged: {found["tokens after cancel"]}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
