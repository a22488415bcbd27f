# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A query, and the checks that need no mission."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sized
from dataclasses import dataclass
from dataclasses import field
import math
from typing import Any

from lfm_ros.conversation.mission_id import check_mission_id
from lfm_ros.conversation.mission_id import MAX_ID_LENGTH
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.engine.text.tools import AUTO
from lfm_ros.engine.text.tools import check_tools
from lfm_ros.engine.text.tools import NONE
from lfm_ros.engine.text.tools import REQUIRED
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import tool_error
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

DEFAULT_MISSION = 'default'
MAX_TOKENS = 1 << 20
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_TIMEOUT = 86400.0
MAX_PROMPT_LENGTH = 1 << 20
MAX_IMAGES = 16
MAX_RESULTS = 64


@dataclass(frozen=True)
class Query:
    """
    A question to a mission.

    :param sampling: fields of :class:`Sampling` that differ from the node's parameters.
    :param max_tokens: longest answer; 0: the node's parameter.
    :param timeout: seconds from arrival to the end of the answer; 0: the node's parameter.
    :param images: that come before the prompt, in this order.
    :param aside: answer from the mission's memory, then forget the turn.
    :param response_format: that the answer must have.
    :param tools: that the mission is given; none: those that it has.
    :param tool_choice: auto, none, required, or the name of a tool.
    :param results: of the functions that the last answer called; then the prompt may be empty.
    :param raw: continue the prompt as it stands, without chat template and mission; ``suffix``
        what comes behind the answer then.
    """

    prompt: str
    mission_id: str = DEFAULT_MISSION
    request_id: str = ''
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 0
    timeout: float = 0.0
    stop: tuple[str, ...] = ()
    aside: bool = False
    images: tuple[ImageSource, ...] = ()
    response_format: ResponseFormat = ResponseFormat()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = AUTO
    results: tuple[ToolResult, ...] = ()
    raw: bool = False
    suffix: str = ''

    def check(self) -> None:
        """Refuse what cannot be answered whatever the state of the mission."""
        check_mission_id(self.mission_id)
        if len(self.request_id) > MAX_ID_LENGTH:
            raise LfmError(ErrorCode.INVALID_VALUE, f'request_id has {len(self.request_id)} '
                           f'characters: send {MAX_ID_LENGTH} at most, or none')
        check_text(self.prompt, 'prompt')
        if not (self.prompt.strip() or self.results or self.raw):
            raise LfmError(ErrorCode.EMPTY_PROMPT, 'the prompt is empty: send a question')
        if len(self.prompt) > MAX_PROMPT_LENGTH:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the prompt has {len(self.prompt)} '
                           f'characters: send {MAX_PROMPT_LENGTH} at most')
        if not 0 <= self.max_tokens <= MAX_TOKENS:
            raise LfmError(ErrorCode.INVALID_VALUE, f'max_tokens is {self.max_tokens}: set it '
                           f'between 1 and {MAX_TOKENS}, or to 0 for the default')
        if not (math.isfinite(self.timeout) and 0 <= self.timeout <= MAX_TIMEOUT):
            raise LfmError(ErrorCode.INVALID_VALUE, f'timeout is {self.timeout:g} s: set it '
                           f'between 0 (the default) and {MAX_TIMEOUT:g} s')
        if len(self.stop) > MAX_STOPS:
            raise LfmError(ErrorCode.INVALID_VALUE, f'there are {len(self.stop)} stop texts: '
                           f'send {MAX_STOPS} at most')
        check_images(self.images)
        for text in self.stop:
            check_text(text, 'stop text')
            if len(text) > MAX_STOP_LENGTH:
                raise LfmError(ErrorCode.INVALID_VALUE, f'a stop text has {len(text)} '
                               f'characters: send {MAX_STOP_LENGTH} at most')
        self.response_format.check()
        if self.response_format.name and self.stop:
            raise LfmError(ErrorCode.INVALID_FORMAT, 'response_format and stop are both set, and '
                           'only one of them can define where the answer ends: leave stop empty')
        self._check_tools()
        self._check_raw()

    def _check_tools(self) -> None:
        check_tools(self.tools)
        if self.response_format.name and self.tool_choice not in (AUTO, NONE):
            raise tool_error('response_format and tool_choice are both set: an answer is one or '
                             'the other, leave one of them empty')
        if len(self.tool_choice) > MAX_ID_LENGTH:
            raise tool_error(f'tool_choice has {len(self.tool_choice)} characters: use '
                             f'{AUTO}, {NONE}, {REQUIRED} or the name of a tool')
        if len(self.results) > MAX_RESULTS:
            raise tool_error(f'there are {len(self.results)} tool results: send {MAX_RESULTS} at '
                             'most')
        for result in self.results:
            check_text(result.name, 'name of a tool result')
            check_text(result.content, 'tool result')
            if len(result.content) > MAX_PROMPT_LENGTH or len(result.name) > MAX_ID_LENGTH:
                raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'a tool result has '
                               f'{len(result.content)} characters: send '
                               f'{MAX_PROMPT_LENGTH} at most')

    def _check_raw(self) -> None:
        check_text(self.suffix, 'suffix')
        if len(self.suffix) > MAX_PROMPT_LENGTH:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the suffix has {len(self.suffix)} '
                           f'characters: send {MAX_PROMPT_LENGTH} at most')
        if self.suffix and not self.raw:
            raise LfmError(ErrorCode.INVALID_VALUE, 'suffix is set without raw: set raw to fill '
                           'in between prompt and suffix')
        if self.raw and (self.images or self.tools or self.results):
            raise LfmError(ErrorCode.INVALID_VALUE, 'raw is set together with images, tools or '
                           'tool results, which belong to a conversation: send one or the other')
        if self.raw and not (self.prompt or self.suffix):
            raise LfmError(ErrorCode.EMPTY_PROMPT, 'prompt and suffix are empty: send the text to '
                           'continue')


def check_images(images: Sized) -> None:
    """Refuse more images than one request may have."""
    if len(images) > MAX_IMAGES:
        raise LfmError(ErrorCode.INVALID_VALUE, f'there are {len(images)} images: send '
                       f'{MAX_IMAGES} at most')


@dataclass(frozen=True)
class RequestDefaults:
    """What a query gets where it leaves something open; may be replaced at any time."""

    sampling: Sampling = Sampling()
    max_tokens: int = 256
    timeout: float = 0.0
