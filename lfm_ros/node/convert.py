# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plain data to messages."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros import msg
from lfm_ros.engine.text.text_check import to_text
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import TextDelta
from lfm_ros.serving.mission_record import MissionInfo
from std_msgs.msg import Header


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


def to_mission_status(info: MissionInfo) -> msg.MissionStatus:
    """Return the message of a mission."""
    return msg.MissionStatus(**vars(info))
