# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node that gives a model to other nodes."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import time
from typing import Any

from lfm_ros.engine.model_options import DEFAULT_CONTEXT
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
from lfm_ros.node import parameters
from lfm_ros.node.answer_log import AnswerLog
from lfm_ros.node.deferred import call_in_executor
from lfm_ros.node.lifecycle_bond import LifecycleBond
from lfm_ros.node.mission_services import MissionServices
from lfm_ros.node.model_runtime import ModelRuntime
from lfm_ros.node.query_server import QueryServer
from lfm_ros.node.status_publisher import StatusPublisher
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.request_errors import DEACTIVATED
from lfm_ros.serving.request_errors import SHUT_DOWN
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter


class LfmNode(LifecycleNode):
    """
    Gives an LFM2 model to other nodes.

    configure opens the model, activate warms it up and takes requests, deactivate undoes what
    runs and answers all that waits, cleanup gives the memory back. Topics and services exist
    from the start, so that a request to a node that is not active is answered with the reason.

    :param options: as for ``rclpy.node.Node``, so that several nodes can live in one process.
    :ivar on_hang: called in another thread when the model hangs for good and everybody was told;
        only another process can run it then.
    """

    def __init__(self, node_name: str = 'lfm', **options: Any) -> None:
        super().__init__(node_name, **options)
        self.on_hang: Callable[[], None] = lambda: None
        self._request_defaults = RequestDefaults()
        self._runtime = ModelRuntime(self._abandon)
        self._bond = LifecycleBond(self)
        self._query_server: QueryServer | None = None
        self.add_pre_set_parameters_callback(lambda found: [*map(parameters.accept, found)])
        self.add_on_set_parameters_callback(self._check_parameters)
        parameters.declare(self)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._answer_log = AnswerLog(self.get_logger())
        self._status_publisher = StatusPublisher(
            self, self._runtime, self._answer_log, self._lifecycle_state)
        self._query_server = QueryServer(self, self._runtime, self._answer_log,
                                         self._status_publisher.publish_status)
        MissionServices(self, self._runtime, self._status_publisher.publish_status)
        if self.get_parameter('autostart').value:
            self._start_timer = self.create_timer(0.0, self._autostart)

    @property
    def is_hung(self) -> bool:
        """Return whether the model hangs for good."""
        return self._runtime.hung is not None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model, or say precisely what is wrong with it."""
        return self._attempt('configure', self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Warm up and take requests."""
        return self._attempt('activate', self._activate, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo what runs and answer all that waits; the missions stay."""
        return self._attempt('deactivate', self.stop, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the memory of the model and its missions back."""
        return self._attempt('clean up', self._close, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        return self._attempt('shut down', self._shut_down, super().on_shutdown, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, so that configure can be tried again."""
        self._close()
        return self._report(TransitionCallbackReturn.SUCCESS)

    def _attempt(self, transition: str, work: Callable[[], Any],
                 then: Callable[[LifecycleState], TransitionCallbackReturn],
                 state: LifecycleState) -> TransitionCallbackReturn:
        """Do the work of a transition; rclpy would say nothing of what is raised there."""
        try:
            work()
            return self._report(then(state))
        except Exception as error:
            failure = self._runtime.failure('the transition', error)
            self.get_logger().error(
                f'{transition} failed [{int(failure.code)}]: {failure.message}')
        # What could not begin can be tried again; what could not end is let go of by on_error.
        return self._report(TransitionCallbackReturn.FAILURE if work in (
            self._configure, self._activate) else TransitionCallbackReturn.ERROR)

    def _configure(self) -> None:
        started = time.monotonic()
        self._answer_log.restart()
        try:
            model = self._runtime.open(
                self.get_parameter('model.path').value, parameters.model_options(self),
                self.get_parameter('missions.system_prompt').value,
                parameters.retention_policy(self), parameters.storage_config(self),
                parameters.prepare_config(self))
            self._request_defaults = parameters.defaults(self, model.sampling)
        except Exception:
            self._runtime.close()
            raise
        wanted = self.get_parameter('model.context_length').value
        if wanted > model.context_length and wanted != DEFAULT_CONTEXT:
            self.get_logger().warning(
                f'model.context_length is {wanted} but the maximum of the model is '
                f'{model.context_length} tokens: missions are limited to that')
        self.get_logger().info(
            f'opened {quote(model.name)} ({quote(self._runtime.description["graph"])}) in '
            f'{time.monotonic() - started:.2f} s: context {model.context_length} tokens, '
            f'{self._runtime.description["state_bytes_token"]} bytes of state per token')

    def _activate(self) -> None:
        try:
            self._runtime.start(self.get_parameter('queue.size').value,
                                self.get_parameter('queue.policy').value, self._request_defaults,
                                self.get_parameter('queue.parallel').value)
            if self._query_server and self._runtime.model and self._runtime.model.vision:
                self._query_server.camera = parameters.camera(self)
            self._bond.start(self.get_parameter('bond_heartbeat_period').value,
                             parameters.is_given(self, 'bond_heartbeat_period'))
        except Exception:
            self.stop()
            raise
        self.get_logger().info('ready for questions')

    def _shut_down(self) -> None:
        self.stop(SHUT_DOWN)
        self._close()

    def stop(self, why: tuple[str, str] = DEACTIVATED) -> bool:
        """Undo what runs and answer all that waits; return whether there was anything."""
        if self._query_server and self._query_server.camera:
            self._query_server.camera.close(why)
            self._query_server.camera = None
        self._bond.stop()
        return self._runtime.stop(why)

    def destroy_node(self) -> None:
        """Stop and close the model, let go of the missions' folder and destroy the node."""
        self._shut_down()
        self._bond.close()
        # rclpy also destroys nodes that are half built, and again those that it has destroyed.
        server, self._query_server = self._query_server, None
        if server:
            server.destroy()
        super().destroy_node()
        # It holds the handle of the node, which holds the participant of DDS. As long as a thread
        # or an executor still has this object, that would leave its shared memory to the machine.
        self.__dict__.pop('_state_machine', None)

    def _abandon(self, error: LfmError) -> None:
        """Tell that the model hangs for good; in the thread that has noticed it."""
        self.get_logger().fatal(error.message)
        call_in_executor(self, self._status_publisher.publish)
        self.on_hang()

    def _close(self) -> None:
        self.stop()
        self._runtime.close()

    def _autostart(self) -> None:
        self.destroy_timer(self._start_timer)
        if self._lifecycle_state() == 'unconfigured' and \
                self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _lifecycle_state(self) -> str:
        machine = self.__dict__.get('_state_machine')
        return machine.current_state[1] if machine else 'finalized'

    def _report(self, result: TransitionCallbackReturn) -> TransitionCallbackReturn:
        """Have the new state published when the transition is over."""
        call_in_executor(self, self._status_publisher.publish_status)
        return result

    def _check_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        try:
            reason = parameters.check_changes(self, changes, self._runtime.model is not None)
        except Exception as error:  # it would end the node
            self.get_logger().error(f'parameters cannot be checked: {error!r}')
            reason = f'the values cannot be checked ({error!r}): please report this'
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_parameters(self, changes: Sequence[Parameter]) -> None:
        if self._runtime.model:
            self._request_defaults = parameters.defaults(self, self._runtime.model.sampling)
            if self._runtime.scheduler:
                self._runtime.scheduler.defaults = self._request_defaults
