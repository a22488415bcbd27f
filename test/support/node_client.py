# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests use to talk to a node: a client whose every wait has a deadline."""
from __future__ import annotations

from collections.abc import Callable
import itertools
import threading
import time
from typing import Any

from action_msgs.msg import GoalStatus
from lfm_ros import msg
from lfm_ros import srv
from lfm_ros.action import Generate
from lfm_ros.client.reliable_client import SafeActionClient
from lfm_ros.client.reliable_client import wait_until_known
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.task import Future

DEADLINE = 60.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DEEP = QoSProfile(depth=1000)

_numbers = itertools.count()


def query(prompt: str, **fields: Any) -> msg.Query:
    """Return a question whose answer is always the same, unless ``fields`` say otherwise."""
    fields.setdefault('sampling', msg.Sampling(temperature=0.0))
    return msg.Query(prompt=prompt, **fields)


def result_of(future: Future, what: str, timeout: float = DEADLINE) -> Any:
    """Wait for a future that the client's thread completes."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout):
        raise TimeoutError(f'no {what} within {timeout:g} s')
    return future.result()


class Inbox:
    """Messages of a topic in the order of their arrival, and when each came (monotonic)."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.times: list[float] = []
        self._change = threading.Condition()

    def put(self, message: Any) -> None:
        """Take a message."""
        with self._change:
            self.messages.append(message)
            self.times.append(time.monotonic())
            self._change.notify_all()

    def wait(self, good: Callable[[Any], bool] = lambda m: True, count: int = 1,
             timeout: float = DEADLINE, start: int = 0) -> list[Any]:
        """Return the first ``count`` messages that are good, when they are there."""
        def found() -> list[Any]:
            return [m for m in self.messages[start:] if good(m)]

        with self._change:
            if not self._change.wait_for(lambda: len(found()) >= count, timeout):
                raise TimeoutError(f'{len(found())} of {count} messages within {timeout:g} s, '
                                   f'the last of all: {self.messages[-1:]}')
            return found()[:count]


class Goal:
    """One goal of ~/generate."""

    def __init__(self, client: ActionClient, message: msg.Query) -> None:
        self.deltas = Inbox()
        self._future = client.send_goal_async(
            Generate.Goal(query=message), lambda f: self.deltas.put(f.feedback.token))

    def accept(self) -> Any:
        """Return the handle of the accepted goal."""
        handle = result_of(self._future, 'reply to a goal')
        assert handle.accepted
        return handle

    def cancel(self) -> bool:
        """Ask to cancel; return whether the node agreed."""
        reply = result_of(self.accept().cancel_goal_async(), 'reply to a cancel request')
        return bool(reply.goals_canceling)

    def end(self) -> tuple[int, msg.Response]:
        """Return the final status and the response."""
        reply = result_of(self.accept().get_result_async(), 'result of a goal')
        return reply.status, reply.result.response

    def response(self) -> msg.Response:
        """Return the response of a goal that succeeds."""
        status, response = self.end()
        assert status == GoalStatus.STATUS_SUCCEEDED, response
        return response


class Client:
    """
    A ROS node in this process, spun by a thread of its own.

    :param target: full name of the node that is asked.
    :param shared_memory: false where that node may be killed: it may have made shared memory in
        which this process listens, and Fast DDS 3.2 then crashes when it lets go of that.
    """

    node_process: Any = None

    def __init__(self, domain: int, target: str = '/lfm', shared_memory: bool = True) -> None:
        self.target = target
        self._context = Context()
        self._context.init(domain_id=domain)
        with pytest.MonkeyPatch.context() as patch:
            if not shared_memory:
                patch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
            self.node = Node(f'tester_{next(_numbers)}', context=self._context,
                             enable_rosout=False, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self._known: set[str] = set()  # of these, the ones whose replies cannot get lost
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.status = self.subscribe(msg.Status, '~/status', LATCHED)

    def _spin(self) -> None:
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.2)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        # Nothing is destroyed before the thread that waits for it has ended: rclpy may crash then.
        self._executor.create_task(self._ending.set)
        self._thread.join(DEADLINE)
        self._executor.shutdown()
        for client in self._clients.values():
            client.destroy()
        self.node.destroy_node()
        self._context.shutdown()

    def full(self, name: str) -> str:
        """Return the full name of what ``~`` stands for."""
        return name.replace('~', self.target, 1)

    # services

    def _in_thread(self, make: Callable[[], Any]) -> Any:
        """Make something while nobody waits for it: rclpy shows it to the executor half made."""
        return result_of(self._executor.create_task(make), 'turn in the thread of the client')

    def _make(self, name: str, make: Callable[[], Any], ready: Callable[[Any], bool]) -> Any:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._in_thread(make)
            client = self._clients[name]
        if not ready(client):
            raise TimeoutError(f'no server of {name} within {DEADLINE:g} s')
        if name not in self._known:
            self._meet()
            self._known.add(name)
        return client

    def _meet(self) -> None:
        if not wait_until_known(self.node, self.target, DEADLINE):
            raise TimeoutError(f'{self.target} did not answer within {DEADLINE:g} s')

    def call_async(self, kind: Any, name: str, request: Any = None) -> Future:
        """Call a service and return the future of its response."""
        client = self._make(
            name, lambda: self.node.create_client(kind, self.full(name), qos_profile=DEEP),
            lambda c: c.wait_for_service(DEADLINE))
        return client.call_async(kind.Request() if request is None else request)

    def call(self, kind: Any, name: str, request: Any = None, timeout: float = DEADLINE) -> Any:
        """Call a service and return its response."""
        return result_of(self.call_async(kind, name, request), f'response of {name}', timeout)

    def ask(self, prompt: str, **fields: Any) -> msg.Response:
        """Ask by service, greedily."""
        return self.ask_query(query(prompt, **fields))

    def ask_query(self, message: msg.Query) -> msg.Response:
        """Ask by service."""
        return self.call(srv.Ask, '~/ask', srv.Ask.Request(query=message)).response

    def ask_later(self, prompt: str, **fields: Any) -> Future:
        """Ask by service; the future gives srv/Ask.Response."""
        return self.call_async(srv.Ask, '~/ask', srv.Ask.Request(query=query(prompt, **fields)))

    def generate(self, prompt: str, **fields: Any) -> Goal:
        """Ask by action, greedily."""
        return self.generate_query(query(prompt, **fields))

    def generate_query(self, message: msg.Query) -> Goal:
        """Ask by action."""
        client = self._make('~/generate', lambda: SafeActionClient(
            self.node, Generate, self.full('~/generate'), feedback_sub_qos_profile=DEEP,
            goal_service_qos_profile=DEEP, result_service_qos_profile=DEEP,
            cancel_service_qos_profile=DEEP),
            lambda c: c.wait_for_server(DEADLINE))
        return Goal(client, message)

    # missions

    def missions(self) -> dict[str, msg.MissionStatus]:
        """Return the missions by name."""
        found = self.call(srv.ListMissions, '~/missions/list').missions
        assert len({m.mission_id for m in found}) == len(found)
        return {m.mission_id: m for m in found}

    def reset(self, mission_id: str = '') -> Any:
        """Reset a mission and return the response."""
        return self.call(srv.ResetMission, '~/missions/reset',
                         srv.ResetMission.Request(mission_id=mission_id))

    def fork(self, mission_id: str, new_mission_id: str) -> Any:
        """Copy a mission and return the response."""
        return self.call(srv.ForkMission, '~/missions/fork', srv.ForkMission.Request(
            mission_id=mission_id, new_mission_id=new_mission_id))

    # topics

    def subscribe(self, kind: Any, name: str, qos: QoSProfile = DEEP) -> Inbox:
        """Return the inbox of a topic."""
        inbox = Inbox()
        self._in_thread(lambda: self.node.create_subscription(
            kind, self.full(name), inbox.put, qos))
        return inbox

    def publisher(self, kind: Any, name: str) -> Any:
        """Return a publisher that the target listens to."""
        publisher = self._in_thread(
            lambda: self.node.create_publisher(kind, self.full(name), DEEP))
        self.wait_until(lambda: publisher.get_subscription_count() > 0, f'subscriber of {name}')
        self._meet()  # what it publishes may be answered on a topic
        return publisher

    def wait_until(self, good: Callable[[], bool], what: str) -> None:
        """Wait for something that can only be looked at."""
        tick = threading.Event()
        for _ in range(int(DEADLINE / 0.01)):
            if good():
                return
            tick.wait(0.01)
        raise TimeoutError(f'no {what} within {DEADLINE:g} s')

    def wait_status(self, good: Callable[[msg.Status], bool], start: int = 0) -> msg.Status:
        """Return the first status that is good."""
        return self.status.wait(good, start=start)[0]

    # lifecycle and parameters

    def change_state(self, label: str) -> bool:
        """Trigger a lifecycle transition and return whether it succeeded."""
        request = ChangeState.Request()
        request.transition.label = label
        return self.call(ChangeState, '~/change_state', request).success

    def get_state(self) -> str:
        """Return the lifecycle state."""
        return self.call(GetState, '~/get_state').current_state.label

    def set_parameters(self, **values: Any) -> list[Any]:
        """Set parameters (two underscores stand for a dot) and return the results."""
        changes = [Parameter(n.replace('__', '.'), value=v).to_parameter_msg()
                   for n, v in values.items()]
        return self.call(SetParameters, '~/set_parameters',
                         SetParameters.Request(parameters=changes)).results
