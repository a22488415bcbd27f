# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages to plain data and back."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros import msg
from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.tools import AUTO
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.node.compressed_frame import CompressedFrame
from lfm_ros.node.frames import RawFrame
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import TextDelta
from lfm_ros.serving.mission_record import MissionInfo
from lfm_ros.serving.query import check_images
from lfm_ros.serving.query import DEFAULT_MISSION
from lfm_ros.serving.query import Query
from std_msgs.msg import Header


def to_query(message: msg.Query, images: Sequence[ImageSource] = ()) -> Query:
    """
    Return the query of a message.

    :param images: of it, see :func:`to_frames`.
    """
    # A negative number stands for the parameter; NaN must reach the check of the values.
    sampling = {name: getattr(message.sampling, name) for name in (*RANGES, 'seed')}
    return Query(
        prompt=message.prompt, mission_id=message.mission_id or DEFAULT_MISSION,
        request_id=message.request_id, sampling=sampling, max_tokens=message.max_tokens,
        timeout=message.timeout, stop=tuple(message.stop), aside=message.aside,
        images=tuple(images), response_format=to_response_format(message.response_format),
        tools=tuple(Tool(t.name, t.description, t.parameters) for t in message.tools),
        tool_choice=message.tool_choice or AUTO,
        results=tuple(ToolResult(r.name, r.content) for r in message.tool_results),
        raw=message.raw, suffix=message.suffix)


def to_response_format(message: msg.ResponseFormat) -> ResponseFormat:
    """Return the form of a message."""
    return ResponseFormat(message.json_schema, message.regex, tuple(message.choices),
                          message.grammar,
                          message.choice_logprobs)


def to_frames(message: Any, mono16_range: tuple[int, int]) -> list[Any]:
    """
    Return the images of a Query or an Observation, the raw ones first.

    :param mono16_range: values that are black and white in images of 16 bits.
    :raises LfmError: INVALID_IMAGE, for one that contradicts itself.
    """
    count = len(message.images) + len(message.compressed_images)
    check_images(range(count))
    return [*(RawFrame(image, mono16_range) for image in message.images),
            *(CompressedFrame(image, mono16_range) for image in message.compressed_images)]


def to_response(answer: Answer, stamp: Any, headers: Sequence[Header] = ()) -> msg.Response:
    """
    Return the message of an answer.

    :param headers: of the images that were looked at.
    """
    usage = msg.Usage(**vars(answer.usage))
    response = msg.Response(
        request_id=answer.request_id, mission_id=answer.mission_id, text=to_text(answer.text),
        finish_reason=answer.finish_reason, error_code=int(answer.error_code),
        error_msg=answer.error_msg, usage=usage, image_headers=list(headers),
        tool_calls=[msg.ToolCall(name=c.name, arguments=to_text(c.arguments))
                    for c in answer.tool_calls],
        choice_logprobs=list(answer.choice_logprobs))
    response.header.stamp = stamp
    return response


def to_token(delta: TextDelta) -> msg.Token:
    """Return the message of a part of an answer."""
    return msg.Token(**{**vars(delta), 'text': to_text(delta.text)})


def to_text(text: str) -> str:
    """Return text for a message: rclpy would cut it at a NUL, which a model may well write."""
    return text.replace('\0', '\ufffd')


def to_mission_status(info: MissionInfo) -> msg.MissionStatus:
    """Return the message of a mission."""
    return msg.MissionStatus(**vars(info))
