# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publish ~/status and /diagnostics."""
from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from lfm_ros import msg
from lfm_ros.node import convert
from lfm_ros.node.answer_log import AnswerLog
from lfm_ros.node.model_runtime import ModelRuntime
from lfm_ros.node.namesakes import Namesakes
from lfm_ros.process import rss_bytes
from lfm_ros.serving.mission_store import MissionStore
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

PERIOD = 1.0  # seconds


class StatusPublisher:
    """
    Publishes ~/status and /diagnostics once a second, ~/status also when asked to.

    :param lifecycle_state: returns the name of the node's state.
    """

    def __init__(self, node: Node, runtime: ModelRuntime, answer_log: AnswerLog,
                 lifecycle_state: Callable[[], str]) -> None:
        self._node = node
        self._runtime = runtime
        self._answer_log = answer_log
        self._lifecycle_state = lifecycle_state
        self._namesakes = Namesakes(node)
        options = QoSOverridingOptions.with_default_policies()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = node.create_publisher(msg.Status, '~/status', latched,
                                             qos_overriding_options=options)
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Simulated time may stand still, operators still want to know.
        node.create_timer(PERIOD, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish ~/status and /diagnostics."""
        status = self.publish_status()
        array = DiagnosticArray()
        array.header = status.header
        array.status = [self._diagnose(status)]
        self._diagnostics.publish(array)

    def publish_status(self) -> msg.Status:
        """Publish and return the present status."""
        model, scheduler, store = self._runtime.model, self._runtime.scheduler, self._runtime.store
        grammars = model.grammars.resident_bytes if model and model.grammar_engine_loaded else 0
        status = msg.Status(state=self._lifecycle_state(), rss_bytes=rss_bytes() + grammars,
                            answered=self._answer_log.answered, failed=self._answer_log.failed)
        status.header.stamp = self._node.get_clock().now().to_msg()
        if model:
            status.model = model.name
        if store:
            status.missions = [convert.to_mission_status(m) for m in store.list()]
            self._report_storage(status, store)
        if scheduler:
            running = scheduler.running
            status.running_request_id = running.request_id if running else ''
            status.queue_length = scheduler.queue_length
            status.queue_size = scheduler.queue_size
            status.tokens_per_second = scheduler.tokens_per_second
        if self._node.context.ok():
            self._status.publish(status)
        return status

    def _report_storage(self, status: msg.Status, store: MissionStore) -> None:
        status.state_bytes, status.state_bytes_limit = \
            store.memory.nbytes, store.memory.limit
        status.device_bytes, status.device_bytes_limit = \
            store.memory.device_nbytes, store.memory.device_limit
        status.turns_committed, status.log_bytes_written, status.state_bytes_written = \
            store.written
        storage = store.storage
        status.stored_bytes = storage.checkpoints.nbytes if storage.checkpoints else 0
        status.durability_error = storage.durability_error
        status.durable = storage.durable

    def _diagnose(self, status: msg.Status) -> DiagnosticStatus:
        level, text = DiagnosticStatus.OK, status.state
        namesake = self._namesakes.notice()
        if failure := self._runtime.hung or self._runtime.error:
            level, text = DiagnosticStatus.ERROR, failure.message
        elif status.durability_error:
            level, text = DiagnosticStatus.WARN, status.durability_error
        elif namesake:
            level, text = DiagnosticStatus.WARN, namesake
        elif status.queue_size and status.queue_length >= status.queue_size:
            level, text = DiagnosticStatus.WARN, 'the queue is full'
        elif self._answer_log.recent_error:
            level, text = DiagnosticStatus.WARN, self._answer_log.recent_error
        elif self._runtime.provider_notice:
            level, text = DiagnosticStatus.WARN, self._runtime.provider_notice
        elif status.running_request_id:
            text = f'{status.state}, answering'
        values = {
            'state': status.state, 'model': status.model, 'provider': self._provider(),
            'context length': self._runtime.model.context_length if self._runtime.model else '',
            'queue': f'{status.queue_length} of {status.queue_size}',
            'answered': status.answered, 'failed': status.failed,
            'tokens per second': f'{status.tokens_per_second:.1f}',
            'missions': len(status.missions),
            'missions in memory': sum(m.resident for m in status.missions),
            'state bytes': status.state_bytes, 'state bytes limit': status.state_bytes_limit,
            'device bytes': status.device_bytes,
            'device bytes limit': status.device_bytes_limit,
            'stored bytes': status.stored_bytes, 'durable': status.durable,
            'bytes written per turn': _per_turn(status), 'damage found': self._damage(),
            'RSS bytes': status.rss_bytes, 'observations lost': self._answer_log.observations_lost,
            'nodes of this name': 1 + self._namesakes.count,
            'last error': self._answer_log.last_error,
        }
        name = self._node.get_fully_qualified_name().lstrip('/')
        return DiagnosticStatus(
            level=level, name=f'{name}: language model',
            hardware_id=status.model, message=text,
            values=[KeyValue(key=k, value=str(v)) for k, v in values.items()])

    def _provider(self) -> str:
        """Return which execution provider runs the model, and why not the wished one."""
        if not self._runtime.model:
            return ''
        return self._runtime.provider_notice or self._runtime.description['providers'][0]

    def _damage(self) -> str:
        """Return what was found damaged on the disk, and how it was mended."""
        return self._runtime.store.storage.notice if self._runtime.store else ''


def _per_turn(status: msg.Status) -> int:
    written = status.log_bytes_written + status.state_bytes_written
    return written // status.turns_committed if status.turns_committed else 0
