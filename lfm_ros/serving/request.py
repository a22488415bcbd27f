# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A query on its way to its answer."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import logging
import math
import threading
import time
import uuid

from lfm_ros.engine.grammar.grammar import Grammar
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.text.tools import ToolCall
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import CANCELLED
from lfm_ros.serving.answer import ERROR
from lfm_ros.serving.answer import TextDelta
from lfm_ros.serving.answer import TIMEOUT
from lfm_ros.serving.answer import Usage
from lfm_ros.serving.query import Query

_log = logging.getLogger(__name__)


class Request:
    """
    A query on its way: it is answered exactly once.

    :param timeout: seconds from now to the end of the answer; 0: for ever.
    :param on_delta: called with every :class:`TextDelta`, in the thread of the model.
    :param on_answer: called with the :class:`Answer`, in the thread that completes it.
    """

    def __init__(self, query: Query, timeout: float = 0.0,
                 on_delta: Callable[[TextDelta], None] | None = None,
                 on_answer: Callable[[Answer], None] | None = None) -> None:
        self.query = query
        self.request_id = query.request_id or uuid.uuid4().hex
        self.arrived = time.monotonic()
        self.deadline = self.arrived + timeout if timeout else math.inf
        self.started = 0.0
        self.number = 0  # in the order in which the scheduler took requests and other work
        self.grammar: Grammar | None = None  # of its answer, once the work on it has begun
        self.cancel_token = CancelToken()
        self.retried = False  # because a device had no memory for it
        self.answer: Answer | None = None
        self.wake: Callable[[], None] = lambda: None  # of the scheduler that holds it
        self._seq = 0
        self._on_delta = on_delta
        self._on_answer = on_answer
        self._complete = threading.Event()

    @property
    def expired(self) -> bool:
        """Return whether its time is over."""
        return time.monotonic() >= self.deadline

    @property
    def ready(self) -> bool:
        """Return whether the work on it can begin: its images are there, its grammar compiled."""
        return not self.compiling and all(image.ready for image in self.query.images)

    @property
    def compiling(self) -> bool:
        """Return whether the grammar of its answer is on its way."""
        return self.grammar is not None and not self.grammar.done

    @property
    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self.cancel_token.is_set

    @property
    def queued(self) -> float:
        """Return the seconds between its arrival and the start of the work on it."""
        return (self.started or time.monotonic()) - self.arrived

    def cancel(self) -> None:
        """Give up the request, wherever it is; it is answered as cancelled."""
        self.cancel_token.set()
        self.wake()

    def wait(self, timeout: float | None = None) -> Answer:
        """Return the answer when it is complete."""
        self._complete.wait(timeout)
        if self.answer is None:
            raise TimeoutError
        return self.answer

    def emit(self, text: str, done: bool = False) -> None:
        """Hand on a part of the answer."""
        if not self._on_delta or not (text or done):
            return
        delta = TextDelta(self.request_id, self.query.mission_id, self._seq, text, done)
        self._seq += 1
        try:
            self._on_delta(delta)
        except BaseException:  # a receiver that is gone must not end the turn
            _log.exception('a receiver of tokens failed')
            self._on_delta = None

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
