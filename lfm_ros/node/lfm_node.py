# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node that holds a model and its missions."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import ctypes
import gc
import time
from typing import Any

from lfm_ros.engine.model import Model
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.missions.request import Answer
from lfm_ros.missions.scheduler import Defaults
from lfm_ros.missions.scheduler import Scheduler
from lfm_ros.missions.store import MissionStore
from lfm_ros.node import parameters
from lfm_ros.node.mission_services import MissionServices
from lfm_ros.node.questions import Questions
from lfm_ros.node.reports import Reports
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

# Failures on our side or of our load; a caller's own mistake does not worry the operator.
_WORRYING = 200
_WORRY_SECONDS = 10.0


class LfmNode(LifecycleNode):
    """
    Gives an LFM2 model to other nodes.

    configure opens the model, activate warms it up and takes requests, deactivate undoes what
    runs and answers all that waits, cleanup gives the memory back. Topics and services exist
    from the start, so that a request to a node that is not active is answered with the reason.

    :param options: as for ``rclpy.node.Node``, so that several nodes can live in one process.
    """

    def __init__(self, node_name: str = 'lfm', **options: Any) -> None:
        super().__init__(node_name, **options)
        self.model: Model | None = None
        self.model_description: dict[str, Any] = {}
        self.store: MissionStore | None = None
        self.scheduler: Scheduler | None = None
        self.configure_error: LfmError | None = None
        self.last_error = ''
        self.observations_lost = 0
        self._last_error_at = 0.0
        self._wanted = Defaults()
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.add_post_set_parameters_callback(self._after_parameters)
        self._questions = Questions(self)
        MissionServices(self)
        self._reports = Reports(self)
        if self.get_parameter('autostart').value:
            self._start_timer = self.create_timer(0.0, self._autostart)

    @property
    def state_label(self) -> str:
        """Lifecycle state, as ``ros2 lifecycle get`` names it."""
        return self._state_machine.current_state[1]

    @property
    def recent_error(self) -> str:
        """The last error that an operator should see, if it is not long ago."""
        recent = time.monotonic() - self._last_error_at < _WORRY_SECONDS
        return self.last_error if recent else ''

    # lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model, or say precisely what is wrong with it."""
        started = time.monotonic()
        self.configure_error = None
        try:
            path = self.get_parameter('model.path').value
            model = Model(path, parameters.model_options(self))
            self._wanted = parameters.defaults(self, model.sampling)
            self.store = MissionStore(
                model, self.get_parameter('missions.system_prompt').value,
                self.get_parameter('missions.max_count').value)
            self.model = model
            self.model_description = model.describe()
        except LfmError as error:
            self.configure_error = error
            self.get_logger().error(f'configure failed [{int(error.code)}]: {error.message}')
            self._release()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(
            f'opened {model.name} ({self.model_description["graph"]}) in '
            f'{time.monotonic() - started:.2f} s: context {model.context_length} tokens, '
            f'{self.model_description["state_bytes_token"]} bytes of state per token')
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Warm up and take requests."""
        assert self.model and self.store
        try:
            self.model.warm_up()
        except LfmError as error:
            self.configure_error = error
            self.get_logger().error(f'activate failed [{int(error.code)}]: {error.message}')
            return TransitionCallbackReturn.FAILURE
        self.scheduler = Scheduler(
            self.store, self.get_parameter('queue.size').value,
            self.get_parameter('queue.policy').value, self._wanted)
        self.get_logger().info('ready for questions')
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo what runs and answer all that waits; the missions stay."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the memory of the model and its missions back."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        self._stop()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, so that configure can be tried again."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the model and destroy the node."""
        self._stop()
        self._questions.destroy()
        super().destroy_node()

    def _autostart(self) -> None:
        self.destroy_timer(self._start_timer)
        if self.state_label == 'unconfigured' and \
                self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _stop(self) -> None:
        scheduler, self.scheduler = self.scheduler, None
        if scheduler:
            scheduler.stop()

    def _release(self) -> None:
        self.model = self.store = None
        self.model_description = {}
        gc.collect()
        # The C library keeps freed pages for itself; a robot wants them back.
        ctypes.CDLL(None).malloc_trim(0)

    # for the interfaces

    def active_scheduler(self) -> Scheduler:
        """
        Return the scheduler of an active node.

        :raises LfmError: NOT_ACTIVE with the reason.
        """
        if self.scheduler is None:
            raise self.inactive_error()
        return self.scheduler

    def inactive_error(self) -> LfmError:
        """Return why nothing can be asked now."""
        if self.configure_error:
            return LfmError(ErrorCode.NOT_ACTIVE, 'the node could not open its model: '
                            + self.configure_error.message)
        return LfmError(ErrorCode.NOT_ACTIVE, f'the node is {self.state_label}: configure and '
                        'activate it first')

    def run_later(self, work: Callable[[], None]) -> None:
        """Do something in the thread of the executor; from any thread."""
        executor = self.executor
        if executor and self.context.ok():
            executor.create_task(work)

    def note(self, answer: Answer) -> None:
        """Tell the operator of an answer, without what was said."""
        if answer.error_code:
            worrying = answer.error_code >= _WORRYING and answer.error_code not in (
                ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE)
            if worrying:
                self.last_error, self._last_error_at = answer.error_msg, time.monotonic()
            (self.get_logger().warning if worrying else self.get_logger().info)(
                f"{answer.finish_reason} [{int(answer.error_code)}] in mission "
                f"'{answer.mission_id}': {answer.error_msg}")
        if self.context.ok():
            self._reports.publish_status()

    def note_observation_lost(self, mission_id: str, error: BaseException) -> None:
        """Tell the operator of an observation that no mission will remember."""
        self.observations_lost += 1
        self.last_error, self._last_error_at = f'an observation was lost: {error}', \
            time.monotonic()
        self.get_logger().warning(
            f"an observation for mission '{mission_id}' was lost: {error}",
            throttle_duration_sec=1.0)

    # parameters

    def _on_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        reason = parameters.refusal(changes, self.model is not None)
        return SetParametersResult(successful=not reason, reason=reason)

    def _after_parameters(self, changes: Sequence[Parameter]) -> None:
        if self.model:
            self._wanted = parameters.defaults(self, self.model.sampling, changes)
            if self.scheduler:
                self.scheduler.defaults = self._wanted
