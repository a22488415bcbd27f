# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked and what comes back."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Sized
from dataclasses import dataclass
from dataclasses import field
import logging
import math
import threading
import time
from typing import Any
import uuid

from lfm_ros.engine.form import Form
from lfm_ros.engine.grammar import Grammar
from lfm_ros.engine.picture import ImageSource
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.tokenizer import check_text
from lfm_ros.engine.tools import AUTO
from lfm_ros.engine.tools import check_tools
from lfm_ros.engine.tools import NONE
from lfm_ros.engine.tools import refusal
from lfm_ros.engine.tools import REQUIRED
from lfm_ros.engine.tools import Tool
from lfm_ros.engine.tools import ToolCall
from lfm_ros.engine.tools import ToolResult
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

DEFAULT_MISSION = 'default'
CANCELLED = 'cancelled'
TIMEOUT = 'timeout'
ERROR = 'error'

MOST_TOKENS = 1 << 20
MOST_STOPS = 16
LONGEST_STOP = 256
LONGEST_ID = 128
LONGEST_TIMEOUT = 86400.0
LONGEST_PROMPT = 1 << 20
MOST_IMAGES = 16
MOST_RESULTS = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """
    A question to a mission.

    :param sampling: fields of :class:`Sampling` that differ from the node's parameters.
    :param max_tokens: longest answer; 0: the node's parameter.
    :param timeout: seconds from arrival to the end of the answer; 0: the node's parameter.
    :param images: to look at, in this order, before the prompt.
    :param aside: answer from the mission's memory, then forget the turn.
    :param form: that the answer must have.
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
    form: Form = Form()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = AUTO
    results: tuple[ToolResult, ...] = ()
    raw: bool = False
    suffix: str = ''

    def check(self) -> None:
        """Refuse what cannot be answered whatever the state of the mission."""
        check_mission_id(self.mission_id)
        if len(self.request_id) > LONGEST_ID:
            raise LfmError(ErrorCode.INVALID_VALUE, f'request_id has {len(self.request_id)} '
                           f'characters: send {LONGEST_ID} at most, or none')
        check_text(self.prompt, 'prompt')
        if not (self.prompt.strip() or self.results or self.raw):
            raise LfmError(ErrorCode.EMPTY_PROMPT, 'the prompt is empty: send a question')
        if len(self.prompt) > LONGEST_PROMPT:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the prompt has {len(self.prompt)} '
                           f'characters: send {LONGEST_PROMPT} at most')
        if not 0 <= self.max_tokens <= MOST_TOKENS:
            raise LfmError(ErrorCode.INVALID_VALUE, f'max_tokens is {self.max_tokens}: set it '
                           f'between 1 and {MOST_TOKENS}, or to 0 for the default')
        if not (math.isfinite(self.timeout) and 0 <= self.timeout <= LONGEST_TIMEOUT):
            raise LfmError(ErrorCode.INVALID_VALUE, f'timeout is {self.timeout:g} s: set it '
                           f'between 0 (the default) and {LONGEST_TIMEOUT:g} s')
        if len(self.stop) > MOST_STOPS:
            raise LfmError(ErrorCode.INVALID_VALUE, f'there are {len(self.stop)} stop texts: '
                           f'send {MOST_STOPS} at most')
        check_images(self.images)
        for text in self.stop:
            check_text(text, 'stop text')
            if len(text) > LONGEST_STOP:
                raise LfmError(ErrorCode.INVALID_VALUE, f'a stop text has {len(text)} '
                               f'characters: send {LONGEST_STOP} at most')
        self.form.check()
        if self.form.name and self.stop:
            raise LfmError(ErrorCode.INVALID_FORMAT, 'response_format and stop are both set, and '
                           'only one of them can say where the answer ends: leave stop empty')
        self._check_tools()
        self._check_raw()

    def _check_tools(self) -> None:
        check_tools(self.tools)
        if self.form.name and self.tool_choice not in (AUTO, NONE):
            raise refusal('response_format and tool_choice are both set: an answer is one or the '
                          'other, leave one of them empty')
        if len(self.tool_choice) > LONGEST_ID:
            raise refusal(f'tool_choice has {len(self.tool_choice)} characters: use '
                          f'{AUTO}, {NONE}, {REQUIRED} or the name of a tool')
        if len(self.results) > MOST_RESULTS:
            raise refusal(f'there are {len(self.results)} tool results: send {MOST_RESULTS} at '
                          'most')
        for result in self.results:
            check_text(result.name, 'name of a tool result')
            check_text(result.content, 'tool result')
            if len(result.content) > LONGEST_PROMPT or len(result.name) > LONGEST_ID:
                raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'a tool result has '
                               f'{len(result.content)} characters: send {LONGEST_PROMPT} at most')

    def _check_raw(self) -> None:
        check_text(self.suffix, 'suffix')
        if len(self.suffix) > LONGEST_PROMPT:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the suffix has {len(self.suffix)} '
                           f'characters: send {LONGEST_PROMPT} at most')
        if self.suffix and not self.raw:
            raise LfmError(ErrorCode.INVALID_VALUE, 'suffix is set without raw: set raw to fill '
                           'in between prompt and suffix')
        if self.raw and (self.images or self.tools or self.results):
            raise LfmError(ErrorCode.INVALID_VALUE, 'raw is set together with images, tools or '
                           'tool results, which belong to a conversation: send one or the other')
        if self.raw and not (self.prompt or self.suffix):
            raise LfmError(ErrorCode.EMPTY_PROMPT, 'prompt and suffix are empty: send what is to '
                           'be continued')


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
class Piece:
    """A part of an answer while it is written; fields as in ``msg/Token``."""

    request_id: str
    mission_id: str
    seq: int
    text: str
    done: bool = False


class Request:
    """
    A query on its way: it is answered exactly once.

    :param timeout: seconds from now to the end of the answer; 0: for ever.
    :param on_piece: called with every :class:`Piece`, in the thread of the model.
    :param on_answer: called with the :class:`Answer`, in the thread that completes it.
    """

    def __init__(self, query: Query, timeout: float = 0.0,
                 on_piece: Callable[[Piece], None] | None = None,
                 on_answer: Callable[[Answer], None] | None = None) -> None:
        self.query = query
        self.request_id = query.request_id or uuid.uuid4().hex
        self.arrived = time.monotonic()
        self.deadline = self.arrived + timeout if timeout else math.inf
        self.started = 0.0
        self.number = 0  # in the order in which the scheduler took requests and other work
        self.grammar: Grammar | None = None  # of its answer, once the work on it has begun
        self.interrupt = Interrupt()
        self.answer: Answer | None = None
        self.wake: Callable[[], None] = lambda: None  # of the scheduler that holds it
        self._seq = 0
        self._on_piece = on_piece
        self._on_answer = on_answer
        self._complete = threading.Event()

    @property
    def expired(self) -> bool:
        """Tell whether its time is over."""
        return time.monotonic() >= self.deadline

    @property
    def ready(self) -> bool:
        """Tell whether the work on it can begin: its images are there, its grammar compiled."""
        return not self.compiling and all(image.ready for image in self.query.images)

    @property
    def compiling(self) -> bool:
        """Tell whether the grammar of its answer is on its way."""
        return self.grammar is not None and not self.grammar.done

    @property
    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        return self.interrupt.is_set

    @property
    def queued(self) -> float:
        """Return the seconds between its arrival and the start of the work on it."""
        return (self.started or time.monotonic()) - self.arrived

    def cancel(self) -> None:
        """Give up the request, wherever it is; it is answered as cancelled."""
        self.interrupt.set()
        self.wake()

    def wait(self, timeout: float | None = None) -> Answer:
        """Return the answer when it is complete."""
        self._complete.wait(timeout)
        if self.answer is None:
            raise TimeoutError
        return self.answer

    def emit(self, text: str, done: bool = False) -> None:
        """Hand on a part of the answer."""
        if not self._on_piece or not (text or done):
            return
        piece = Piece(self.request_id, self.query.mission_id, self._seq, text, done)
        self._seq += 1
        try:
            self._on_piece(piece)
        except BaseException:  # a receiver that is gone must not end the turn
            _log.exception('a receiver of tokens failed')
            self._on_piece = None

    def complete(self, text: str, finish_reason: str, usage: Usage = Usage(),
                 error: LfmError | None = None, tool_calls: Sequence[ToolCall] = (),
                 choice_logprobs: Sequence[float] = ()) -> None:
        """Answer the request."""
        self.answer = Answer(
            self.request_id, self.query.mission_id, text, finish_reason,
            error.code if error else ErrorCode.NONE, error.message if error else '', usage,
            tuple(tool_calls), tuple(choice_logprobs))
        if self._seq or not error:
            self.emit('', done=True)
        self._complete.set()
        try:
            if self._on_answer:
                self._on_answer(self.answer)
        except BaseException:
            _log.exception('a receiver of an answer failed')

    def fail(self, error: LfmError, text: str = '', usage: Usage | None = None) -> None:
        """Answer the request with an error."""
        reasons = {ErrorCode.CANCELLED: CANCELLED, ErrorCode.NOT_ACTIVE: ERROR,
                   ErrorCode.TIMEOUT: TIMEOUT, ErrorCode.TIMEOUT_IN_QUEUE: TIMEOUT}
        if usage is None:
            usage = Usage(seconds_queued=self.queued)
        self.complete(text, reasons.get(error.code, ERROR), usage, error)


def check_images(images: Sized) -> None:
    """Refuse more images than anybody looks at at once."""
    if len(images) > MOST_IMAGES:
        raise LfmError(ErrorCode.INVALID_VALUE, f'there are {len(images)} images: send '
                       f'{MOST_IMAGES} at most')


def check_new_mission_id(mission_id: str, known: Container[str]) -> None:
    """Refuse a name that is none, or that another mission has."""
    check_mission_id(mission_id)
    if mission_id in known:
        raise LfmError(ErrorCode.MISSION_EXISTS, f"mission '{mission_id}' exists already: delete "
                       'it first or choose another name')


def check_mission_id(mission_id: str) -> None:
    """Refuse a name that could be anything but a name."""
    good = all(c.isalnum() or c in '_-.: ' for c in mission_id) and len(mission_id) <= LONGEST_ID
    if not good or not mission_id or mission_id[0] in '. ' or mission_id[-1] == ' ':
        raise LfmError(ErrorCode.INVALID_MISSION_ID, f'{mission_id[:LONGEST_ID]!r} is no mission '
                       f'id: use up to {LONGEST_ID} letters, digits and _-.: and begin with a '
                       'letter or digit')
