# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node that gives a model to other nodes."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import time
from typing import Any

from lfm_ros.engine.model import DEFAULT_CONTEXT
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
from lfm_ros.missions.scheduler import Defaults
from lfm_ros.node import parameters
from lfm_ros.node.deferred import run_later
from lfm_ros.node.heartbeat import Heartbeat
from lfm_ros.node.host import MissionPlace
from lfm_ros.node.host import ModelHost
from lfm_ros.node.journal import Journal
from lfm_ros.node.mission_services import MissionServices
from lfm_ros.node.questions import Questions
from lfm_ros.node.reports import Reports
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
    :ivar on_lost: called in another thread when the model hangs for good and everybody was told;
        only another process can run it then.
    """

    def __init__(self, node_name: str = 'lfm', **options: Any) -> None:
        super().__init__(node_name, **options)
        self.on_lost: Callable[[], None] = lambda: None
        self._defaults = Defaults()
        self._host = ModelHost(self._lose)
        self._heartbeat = Heartbeat(self)
        self._questions: Questions | None = None
        self.add_on_set_parameters_callback(self._check_parameters)
        parameters.declare(self)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._journal = Journal(self.get_logger())
        self._reports = Reports(self, self._host, self._journal, self._lifecycle_state)
        self._questions = Questions(self, self._host, self._journal,
                                    self._reports.publish_status)
        MissionServices(self, self._host, self._reports.publish_status)
        if self.get_parameter('autostart').value:
            self._start_timer = self.create_timer(0.0, self._autostart)

    @property
    def is_lost(self) -> bool:
        """Tell whether the model hangs for good."""
        return self._host.lost is not None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model, or say precisely what is wrong with it."""
        started = time.monotonic()
        self._journal.restart()
        try:
            model = self._host.open(
                self.get_parameter('model.path').value, parameters.model_options(self),
                self.get_parameter('missions.system_prompt').value,
                parameters.keeping(self), MissionPlace(
                    self.get_parameter('missions.dir').value,
                    self.get_parameter('memory.budget_mb').value,
                    self.get_parameter('missions.key_file').value,
                    self.get_parameter('missions.strict_permissions').value),
                parameters.preparing(self))
            self._defaults = parameters.defaults(self, model.sampling)
        except LfmError as error:
            self._host.close()
            return self._failed('configure', error)
        wanted = self.get_parameter('model.context_length').value
        if wanted > model.context_length and wanted != DEFAULT_CONTEXT:
            self.get_logger().warning(
                f'model.context_length is {wanted} but the model was made for '
                f'{model.context_length} tokens: that is what a mission can hold')
        self.get_logger().info(
            f'opened {quote(model.name)} ({quote(self._host.description["graph"])}) in '
            f'{time.monotonic() - started:.2f} s: context {model.context_length} tokens, '
            f'{self._host.description["state_bytes_token"]} bytes of state per token')
        return self._report(super().on_configure(state))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Warm up and take requests."""
        try:
            self._host.start(self.get_parameter('queue.size').value,
                             self.get_parameter('queue.policy').value, self._defaults,
                             self.get_parameter('queue.parallel').value)
        except LfmError as error:
            return self._failed('activate', error)
        if self._questions and self._host.model and self._host.model.vision:
            self._questions.camera = parameters.camera(self)
        self._heartbeat.start(self.get_parameter('bond_heartbeat_period').value,
                              parameters.is_given(self, 'bond_heartbeat_period'))
        self.get_logger().info('ready for questions')
        return self._report(super().on_activate(state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo what runs and answer all that waits; the missions stay."""
        self.stop()
        return self._report(super().on_deactivate(state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the memory of the model and its missions back."""
        self._close()
        return self._report(super().on_cleanup(state))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        self._close()
        self._host.shut_down = True
        return self._report(super().on_shutdown(state))

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, so that configure can be tried again."""
        self._close()
        return self._report(TransitionCallbackReturn.SUCCESS)

    def stop(self) -> bool:
        """Undo what runs and answer all that waits; tell whether there was anything."""
        if self._questions and self._questions.camera:
            self._questions.camera.close()
            self._questions.camera = None
        self._heartbeat.stop()
        return self._host.stop()

    def destroy_node(self) -> None:
        """Stop and close the model, let go of the missions' folder and destroy the node."""
        self._close()
        self._heartbeat.close()
        # rclpy also destroys nodes that are half built, and again those that it has destroyed.
        questions, self._questions = self._questions, None
        if questions:
            questions.destroy()
        super().destroy_node()
        # It holds the handle of the node, which holds the participant of DDS. As long as a thread
        # or an executor still has this object, that would leave its shared memory to the machine.
        self.__dict__.pop('_state_machine', None)

    def _lose(self, error: LfmError) -> None:
        """Tell that the model hangs for good; in the thread that has noticed it."""
        self.get_logger().fatal(error.message)
        run_later(self, self._reports.publish)
        self.on_lost()

    def _close(self) -> None:
        self.stop()
        self._host.close()

    def _autostart(self) -> None:
        self.destroy_timer(self._start_timer)
        if self._lifecycle_state() == 'unconfigured' and \
                self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _lifecycle_state(self) -> str:
        machine = self.__dict__.get('_state_machine')
        return machine.current_state[1] if machine else 'finalized'

    def _failed(self, transition: str, error: LfmError) -> TransitionCallbackReturn:
        self.get_logger().error(f'{transition} failed [{int(error.code)}]: {error.message}')
        return self._report(TransitionCallbackReturn.FAILURE)

    def _report(self, result: TransitionCallbackReturn) -> TransitionCallbackReturn:
        """Have the new state published when the transition is over."""
        run_later(self, self._reports.publish_status)
        return result

    def _check_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        reason = parameters.refusal(self, changes, self._host.model is not None)
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_parameters(self, changes: Sequence[Parameter]) -> None:
        if self._host.model:
            self._defaults = parameters.defaults(self, self._host.model.sampling)
            if self._host.scheduler:
                self._host.scheduler.defaults = self._defaults
