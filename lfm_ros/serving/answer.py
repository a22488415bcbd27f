# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An answer, the deltas of its text, and its usage."""
from __future__ import annotations

from dataclasses import dataclass

from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.errors import ErrorCode

CANCELLED = 'cancelled'
TIMEOUT = 'timeout'
ERROR = 'error'


@dataclass(frozen=True)
class Usage:
    """What an answer cost; fields as in ``msg/Usage``."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    image_tokens: int = 0
    time_to_first_token: float = 0.0
    tokens_per_second: float = 0.0
    seconds_queued: float = 0.0
    forgotten_tokens: int = 0
    image_tiles: int = 0
    image_seconds: float = 0.0
    forced_tokens: int = 0


@dataclass(frozen=True)
class Answer:
    """What comes back, always; fields as in ``msg/Response``."""

    request_id: str
    mission_id: str
    text: str = ''
    finish_reason: str = ERROR
    error_code: int = ErrorCode.NONE
    error_msg: str = ''
    usage: Usage = Usage()
    tool_calls: tuple[ToolCall, ...] = ()
    choice_logprobs: tuple[float, ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """A part of an answer while it is written; fields as in ``msg/Token``."""

    request_id: str
    mission_id: str
    seq: int
    text: str
    done: bool = False
