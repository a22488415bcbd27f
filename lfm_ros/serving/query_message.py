# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A query from a ``msg/Query``, of a node or in a recording.

Nothing here needs ROS: a message may be anything with the fields of its type.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.tools import AUTO
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.compressed_frame import CompressedFrame
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.engine.vision.raw_frame import RawFrame
from lfm_ros.serving.past_turn import PastTurn
from lfm_ros.serving.query import check_images
from lfm_ros.serving.query import DEFAULT_MISSION
from lfm_ros.serving.query import Query


def to_query(message: Any, images: Sequence[ImageSource] = ()) -> Query:
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
        images=tuple(images), response_format=_to_response_format(message.response_format),
        tools=to_tools(message.tools),
        tool_choice=message.tool_choice or AUTO,
        results=tuple(ToolResult(r.name, r.content) for r in message.tool_results),
        raw=message.raw, suffix=message.suffix)


def to_past_turns(messages: Sequence[Any], mono16_range: tuple[int, int]) -> list[PastTurn]:
    """
    Return the turns of ``msg/PastTurn``.

    :raises LfmError: INVALID_IMAGE.
    """
    return [PastTurn(
        turn.prompt, turn.answer, tuple(to_frames(turn, mono16_range)),
        tuple(ToolResult(r.name, r.content) for r in turn.tool_results),
        tuple(ToolCall(c.name, c.arguments) for c in turn.tool_calls)) for turn in messages]


def to_tools(messages: Sequence[Any]) -> tuple[Tool, ...]:
    """Return the tools of ``msg/Tool``."""
    return tuple(Tool(t.name, t.description, t.parameters) for t in messages)


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


def _to_response_format(message: Any) -> ResponseFormat:
    return ResponseFormat(message.json_schema, message.regex, tuple(message.choices),
                          message.grammar, message.choice_logprobs)
