# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The requests that are answered now, several missions at a time."""
from __future__ import annotations

from collections.abc import Callable
import time

from lfm_ros.engine.runtime.ort_errors import DeviceLostError
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving import request_errors
from lfm_ros.serving.constraints import GrammarPending
from lfm_ros.serving.memory_budget import in_mb
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.request import Request
from lfm_ros.serving.running_request import MustWaitForMemory
from lfm_ros.serving.running_request import RunningRequest


class RunningRequests:
    """
    Advances the requests in progress; used by the thread of the model, looked at by all.

    :param put_back: has a request wait again that was begun too early.
    :param to_error: makes any exception the error that a request is answered with.
    :ivar full: there is no memory for another answer beside those in progress.
    """

    def __init__(self, store: MissionStore, put_back: Callable[[Request], None],
                 to_error: Callable[[BaseException], LfmError]) -> None:
        self.full = False
        self._store = store
        self._put_back = put_back
        self._to_error = to_error
        self._running: tuple[RunningRequest, ...] = ()  # replaced whole: other threads read it
        self._last_speed = 0.0

    def __len__(self) -> int:
        return len(self._running)

    @property
    def requests(self) -> list[Request]:
        """The requests in progress."""
        return [running.request for running in self._running]

    @property
    def missions(self) -> set[str]:
        """The missions that are answered now."""
        return {running.mission_id for running in self._running}

    @property
    def tokens_per_second(self) -> float:
        """The speed of the answers in progress together, or of the last one."""
        now = self._running
        return sum(running.tokens_per_second for running in now) if now else self._last_speed

    def begin(self, request: Request, defaults: RequestDefaults) -> None:
        """Begin to answer a request."""
        request.started = time.monotonic()
        query = request.query
        self._running = (*self._running, RunningRequest(
            request, self._store, defaults.sampling.with_overrides(query.sampling),
            query.max_tokens or defaults.max_tokens, others_running=bool(self._running)))

    def step(self, between: Callable[[], None]) -> None:
        """
        Let every answer in progress grow by a token, and one question be read on by a chunk.

        So a long prompt never holds an answer up for longer than a chunk takes.

        :param between: called after every run of the model.
        """
        self._decode_batch([each for each in self._running if each.needs_decode_step])
        reading = [each for each in self._running if not each.decoding]
        for each in reading:
            each.limit_chunk(len(reading) < len(self._running))
        for each in [each for each in self._running if each.decoding] + reading[:1]:
            self._advance(each)
            between()
        for each in reading[1:]:
            try:
                each.check()
            except BaseException as error:
                self._end(each, error)
        if reading[1:]:  # the next one has its turn
            self._running = (*(each for each in self._running if each is not reading[0]),
                             *(each for each in self._running if each is reading[0]))

    def end_all(self, error: LfmError) -> None:
        """Undo all turns in progress and answer their requests with an error."""
        for each in self._running:
            self._end(each, error)

    def refuse_all(self, error: LfmError) -> None:
        """Answer all requests in progress from another thread; their turns stay as they are."""
        for each in self._running:
            each.refuse(error)

    def _decode_batch(self, batch: list[RunningRequest]) -> None:
        """Decode one token for each of several requests in one run of the model."""
        if len(batch) < 2:
            return
        store, states = self._store, [each.generation.state for each in batch]
        tokens = [each.generation.ids[-1] for each in batch]
        try:
            try:
                rows = store.model.runner.decode_batch(states, tokens)
            except LfmError as error:  # none of them has changed
                if error.code != ErrorCode.OUT_OF_MEMORY or \
                        not store.model.memory.on_device or not store.memory.offload_oldest():
                    raise
                rows = store.model.runner.decode_batch(states, tokens)
        except BaseException as error:  # of each of them
            for each in batch:
                self._end(each, error)
            return
        for each, logits in zip(batch, rows):
            each.generation.feed_logits(logits)

    def _advance(self, running: RunningRequest) -> None:
        try:
            complete = running.advance()
        except MustWaitForMemory:
            self._wait_again(running)
            self.full = True  # until an answer is complete
        except GrammarPending:
            self._wait_again(running)
        except LfmError as error:
            if error.code == ErrorCode.OUT_OF_MEMORY:
                self._out_of_memory(running, error)
            else:
                self._end(running, error)
        except BaseException as error:  # a panic in a library is no Exception
            self._end(running, error)
        else:
            if complete:
                self._remove(running)
                running.complete()

    def _out_of_memory(self, running: RunningRequest, error: LfmError) -> None:
        """Have a request for which a device lacked memory wait again, once, with more of it."""
        store, request = self._store, running.request
        if not store.model.memory.on_device:
            self._end(running, error)
        elif running.decoding or request.retried or \
                not store.memory.offload_oldest(running.mission_id):
            self._end(running, LfmError(error.code, f'{error.message}; missions take '
                                        f'{in_mb(store.memory.device_nbytes)} MB on the device'))
        else:
            request.retried = True
            self._wait_again(running)

    def _wait_again(self, running: RunningRequest) -> None:
        running.undo()
        self._remove(running)
        self._put_back(running.request)

    def _end(self, running: RunningRequest, error: BaseException) -> None:
        self._remove(running)
        if isinstance(error, DeviceLostError):  # nothing can be undone there
            running.refuse(error)
            raise error
        try:
            running.fail(self._to_error(error))
        except BaseException as another:  # the state is not what it was, so nothing can go on
            running.refuse(request_errors.unexpected(another))
            raise

    def _remove(self, running: RunningRequest) -> None:
        self._running = tuple(other for other in self._running if other is not running)
        self._last_speed, self.full = running.tokens_per_second, False
        self._store.model.runner.release_batch()
