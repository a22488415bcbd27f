# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answer queries: topics, the service ~/ask and the action ~/generate."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from lfm_ros import msg
from lfm_ros.action import Generate
from lfm_ros.engine.text.text_check import to_text
from lfm_ros.node import convert
from lfm_ros.node import parameters
from lfm_ros.node.answer_log import AnswerLog
from lfm_ros.node.camera import Camera
from lfm_ros.node.camera import PendingFrame
from lfm_ros.node.deferred import call_in_executor
from lfm_ros.node.deferred import DeferredActionServer
from lfm_ros.node.deferred import DeferredService
from lfm_ros.node.model_runtime import ModelRuntime
from lfm_ros.serving import request_errors
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import CANCELLED
from lfm_ros.serving.answer import TextDelta
from lfm_ros.serving.query import DEFAULT_MISSION
from lfm_ros.serving.query import Query
from lfm_ros.serving.query_message import to_frames
from lfm_ros.serving.query_message import to_query
from lfm_ros.serving.request import Request
from lfm_ros.srv import Ask
from rclpy.action import CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header
from std_msgs.msg import String

_DEPTH = 1000  # with rclpy's 10, the eleventh of several at once is lost without a word
OnAnswer = Callable[[Answer, Sequence[Header]], None]
_TOKEN_DEPTH = 1000  # a whole answer, for a subscriber that looks away for a while


class QueryServer:
    """
    Takes queries from topics, service and action, and answers the way they came.

    :param changed: called after every answer.
    :ivar camera: where frames come from while the node is active.
    """

    def __init__(self, node: Node, runtime: ModelRuntime, answer_log: AnswerLog,
                 changed: Callable[[], Any]) -> None:
        self._node = node
        self._runtime = runtime
        self._answer_log = answer_log
        self._changed = changed
        self.camera: Camera | None = None
        self._goals: dict[bytes, Request] = {}
        options = {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}
        self._responses = node.create_publisher(msg.Response, '~/response', _DEPTH, **options)
        self._tokens = node.create_publisher(
            msg.Token, '~/tokens', QoSProfile(depth=_TOKEN_DEPTH), **options)
        self._answers = node.create_publisher(String, '~/answer', _DEPTH, **options)
        node.create_subscription(msg.Query, '~/query', self._on_query, _DEPTH, **options)
        node.create_subscription(String, '~/prompt', self._on_prompt, _DEPTH, **options)
        self._observations = node.create_subscription(
            msg.Observation, '~/observe', self._on_observation, _DEPTH, **options)
        DeferredService(node, Ask, '~/ask', self._on_ask)
        self._action = DeferredActionServer(
            node, Generate, '~/generate', self._on_goal,
            cancel_callback=self._on_cancel, result_timeout=60,
            feedback_pub_qos_profile=QoSProfile(depth=_TOKEN_DEPTH))

    def destroy(self) -> None:
        """Give the action server back; the node does not own it."""
        self._action.destroy()

    def _images_of(self, message: msg.Query | msg.Observation, camera: bool = False
                   ) -> list[Any]:
        """
        Return the images of a message as sources.

        :param camera: whether it also wants the latest frame.
        """
        if not (message.images or message.compressed_images or camera):
            return []
        assert self._runtime.model
        self._runtime.model.require_vision()  # refuses a text model
        images: list[Any] = to_frames(message, parameters.mono16_range(self._node))
        if camera and self.camera:
            images.append(self.camera.request_frame())
        return images

    def _submit(self, message: msg.Query, on_answer: OnAnswer,
                on_delta: Callable[[TextDelta], None] | None = None) -> Request:
        """Hand a query to the scheduler; the answer comes in the thread of the executor."""
        self._drain_observations()
        images: Sequence[Any] = ()

        def complete(answer: Answer) -> None:
            headers = [image.header for image in images if image.header]
            for image in images:
                if isinstance(image, PendingFrame):
                    image.drop()
            self._answer_log.note_images(images)
            call_in_executor(self._node, lambda: on_answer(answer, headers))

        try:
            scheduler = self._runtime.active_scheduler()
            query = to_query(message, self._images_of(message, message.use_camera))
            images = query.images
        except Exception as error:
            query = Query(message.prompt, message.mission_id or DEFAULT_MISSION,
                          message.request_id)
            request = Request(query, on_answer=complete)
            request.fail(request_errors.as_error(error))
            return request
        return scheduler.submit(query, on_delta, complete)

    def _response(self, answer: Answer, headers: Sequence[Header]) -> msg.Response:
        self._answer_log.note(answer)
        self._changed()
        return convert.to_response(answer, self._node.get_clock().now().to_msg(), headers)

    # topics

    def _on_query(self, message: msg.Query) -> None:
        self._submit(message, lambda *a: self._responses.publish(self._response(*a)),
                     self._publish_token)

    def _on_prompt(self, message: String) -> None:
        self._submit(msg.Query(prompt=message.data), self._publish_answer, self._publish_token)

    def _publish_answer(self, answer: Answer, headers: Sequence[Header]) -> None:
        self._responses.publish(self._response(answer, headers))
        self._answers.publish(String(data=answer.error_msg or to_text(answer.text)))

    def _publish_token(self, delta: TextDelta) -> None:
        def send() -> None:
            if self._tokens.get_subscription_count():
                self._tokens.publish(convert.to_token(delta))

        self._send_delta(send)

    def _send_delta(self, send: Callable[[], None]) -> None:
        """Publish in the thread of the model, which does not learn of the end of the context."""
        try:
            if self._node.context.ok():
                send()
        except Exception:
            if self._node.context.ok():
                raise

    def _on_observation(self, message: msg.Observation) -> None:
        mission_id = message.mission_id or DEFAULT_MISSION
        try:
            scheduler = self._runtime.active_scheduler()
            images = self._images_of(message)
            future = scheduler.observe(mission_id, message.text, images)
        except Exception as error:
            self._answer_log.note_lost(mission_id, error)
        else:
            future.add_done_callback(lambda f: self._observed(mission_id, images, f.exception()))

    def _drain_observations(self) -> None:
        """
        Take all observations that have come; a question must not overtake them.

        rclpy takes one message of each subscription in a turn of its executor.
        """
        while taken := self._observations.handle.take_message(msg.Observation, False):
            self._on_observation(taken[0])

    def _observed(self, mission_id: str, images: Sequence[Any], error: BaseException | None
                  ) -> None:
        self._answer_log.note_images(images)
        if error:
            self._answer_log.note_lost(mission_id, error)

    # service

    def _on_ask(self, request: Ask.Request, send: Callable[[Any], None]) -> None:
        self._submit(request.query, lambda *a: send(Ask.Response(response=self._response(*a))))

    # action

    def _on_goal(self, goal: ServerGoalHandle) -> None:
        def feedback(delta: TextDelta) -> None:
            self._send_delta(lambda: goal.publish_feedback(
                Generate.Feedback(token=convert.to_token(delta))))

        def finish(answer: Answer, headers: Sequence[Header]) -> None:
            self._goals.pop(key, None)
            self._action.finish(goal, lambda g: self._end_goal(g, answer, headers))

        key = bytes(goal.goal_id.uuid)
        self._goals[key] = self._submit(goal.request.query, finish, feedback)
        if goal.is_cancel_requested:  # between acceptance and here
            self._goals[key].cancel()

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        request = self._goals.get(bytes(goal.goal_id.uuid))
        if request:
            request.cancel()
        return CancelResponse.ACCEPT

    def _end_goal(self, goal: ServerGoalHandle, answer: Answer, headers: Sequence[Header]
                  ) -> Generate.Result:
        if not answer.error_code:
            goal.succeed()
        elif answer.finish_reason == CANCELLED and goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return Generate.Result(response=self._response(answer, headers))
