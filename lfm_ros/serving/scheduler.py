# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that runs the model, and what waits for it."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import Future
import itertools
import logging
import threading
import time
from typing import Any

from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import LfmError
from lfm_ros.serving import request_errors
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import TextDelta
from lfm_ros.serving.jobs import Job
from lfm_ros.serving.jobs import JobQueue
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.queue import check_images_fit
from lfm_ros.serving.queue import REJECT
from lfm_ros.serving.queue import RequestQueue
from lfm_ros.serving.read_ahead import ReadAhead
from lfm_ros.serving.request import Request
from lfm_ros.serving.running_requests import RunningRequests
from lfm_ros.serving.watchdog import Watchdog

IMAGE_POLL_PERIOD = 0.01  # seconds between two looks whether an image has come
MAINTENANCE_PERIOD = 1.0  # seconds between two checks for what is to be stored or has expired

_log = logging.getLogger(__name__)


class Scheduler:
    """
    Answers requests in a thread of its own: one after the other, or several missions in a batch.

    Between two runs of the model it serves what else came in: cancelled and expired requests,
    jobs. Idle, it reads observations ahead. A watchdog ends a run that takes too long.

    :param store: the missions; touched only by the thread while it runs.
    :param parallel: most answers in progress at once, as far as the model can decode a batch.
    :param on_hang: called in another thread when the model hangs for good, with what everybody
        was answered; only another process can run it then.
    :ivar hung: that error; None: the thread of the model is there.
    """

    def __init__(self, store: MissionStore, queue_size: int = 8, policy: str = REJECT,
                 defaults: RequestDefaults = RequestDefaults(), parallel: int = 1,
                 on_hang: Callable[[LfmError], None] = lambda _: None) -> None:
        self.store = store
        self.defaults = defaults
        self.parallel = max(1, min(parallel, store.model.runner.max_batch_size))
        self.hung: LfmError | None = None
        self._on_hang = on_hang
        self._running = RunningRequests(store, self._put_back, self._to_error)
        self._admitted: list[Request] = []  # taken from the queue and, as far as known, unanswered
        self._queue = RequestQueue(queue_size, policy)
        self._jobs = JobQueue()
        self._numbers = itertools.count(1)
        self._read_ahead = ReadAhead(store)
        self._change = threading.Condition()
        self._stopping: tuple[str, str] | None = None  # why
        self._ended = threading.Event()  # the thread, or it hangs
        timeout = store.model.options.run_timeout
        self._watchdog = Watchdog(store.model.runs, timeout, self._abandon) if timeout else None
        self._thread = threading.Thread(target=self._run, name='lfm_model', daemon=True)
        self._thread.start()

    @property
    def tokens_per_second(self) -> float:
        """The speed of the answers in progress together, or of the last one."""
        return self._running.tokens_per_second

    @property
    def running(self) -> Request | None:
        """The request that is answered now; of several the first."""
        return next(iter(self._running.requests), None)

    @property
    def alive(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    @property
    def queue_length(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def queue_size(self) -> int:
        """How many requests may wait."""
        return self._queue.size

    def submit(self, query: Query, on_delta: Callable[[TextDelta], None] | None = None,
               on_answer: Callable[[Answer], None] | None = None) -> Request:
        """
        Take a query; returns at once.

        :returns: the request, which is answered in any case, with an error if need be.
        """
        timeout = query.timeout if query.timeout > 0 else self.defaults.timeout
        request = Request(query, timeout if timeout < float('inf') else 0.0, on_delta, on_answer)
        try:
            query.check()
            if query.images:
                self.store.model.require_vision()  # refuses a text model
            self.defaults.sampling.with_overrides(query.sampling)
            displaced = self._enqueue(request)
        except Exception as error:
            request.fail(self._to_error(error))
            return request
        if displaced:
            displaced.fail(request_errors.displaced())
        return request

    def submit_job(self, work: Callable[[], Any], *missions: str,
                   images: Sequence[ImageSource] = ()) -> Future[Any]:
        """
        Do work on missions in the thread of the model; returns at once.

        :param missions: the work waits for the end of all requests to one of them that came
            earlier.
        :param images: that the work decodes, which takes long: it waits until no answer runs.
        """
        with self._change:
            job = Job(next(self._numbers), frozenset(missions), work, images)
            if self._stopping:
                job.fail(self.hung or request_errors.not_active())
                return job.future
            try:
                check_images_fit(images, self._waiting_images)
                self._jobs.put(job)
            except LfmError as error:
                job.fail(error)
            self._change.notify()
        return job.future

    def observe(self, mission_id: str, text: str, images: Sequence[ImageSource] = ()
                ) -> Future[Any]:
        """Add context to a mission that needs no answer; returns at once."""
        return self.submit_job(lambda: self.store.observe(mission_id, text, images), mission_id,
                               images=images)

    def stop(self, why: tuple[str, str] = request_errors.DEACTIVATED) -> bool:
        """
        Undo what runs, answer all that waits and say why, end the thread; the missions stay.

        :returns: whether there was anything to answer.
        """
        with self._change:
            self._stopping = why
            running = self._running.requests
            busy = bool(running or self._jobs or self._queue)
        self._wake()
        self._read_ahead.stop()
        for request in running:
            request.cancel()
        if threading.current_thread() is not self._thread:
            self._ended.wait()
            if not self.hung:
                self._thread.join()
        return busy

    @property
    def _waiting_images(self) -> list[ImageSource]:
        return [*self._queue.images(), *self._jobs.images]

    def _enqueue(self, request: Request) -> Request | None:
        with self._change:
            if self._stopping:
                raise self.hung or request_errors.not_active()
            check_images_fit(request.query.images, self._waiting_images)
            request.wake = self._wake
            request.number = next(self._numbers)
            displaced = self._queue.put(request, self._idle_places(request.query.mission_id))
            self._change.notify()
            return displaced

    def _idle_places(self, mission_id: str) -> int:
        """Return how many answers could begin at once; the caller holds the lock."""
        running = self._running.missions
        return 0 if mission_id in running else self.parallel - len(running)

    def _put_back(self, request: Request) -> None:
        """Let a request wait again that was taken too early."""
        with self._change:
            self._queue.put_back(request)

    def _to_error(self, error: BaseException) -> LfmError:
        if isinstance(error, RunCancelled):
            return request_errors.stopped(self._stopping, begun=True) if self._stopping else \
                request_errors.cancelled()
        return request_errors.as_error(error)

    def _wake(self) -> None:
        with self._change:
            self._change.notify()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._abandon(request_errors.ended(error))
        finally:
            if self._watchdog:
                self._watchdog.stop()
            self._ended.set()

    def _loop(self) -> None:
        idle_since = maintained = time.monotonic()
        while True:
            self._service_requests()
            if lost := self.store.model.lost:  # in a job, say
                raise lost
            now = time.monotonic()
            if now - maintained >= MAINTENANCE_PERIOD:
                self._maintain(now - idle_since)
                maintained = time.monotonic()
            with self._change:
                if why := self._stopping:
                    break
                # A job came while there was no lock, perhaps before the request.
                if self._jobs.ready(self._running.missions, self._queue):
                    continue
                request = self._admit()
            if request:
                self._read_ahead.question_came(request.query.mission_id)
                self._running.begin(request, self.defaults)
            if self._running:
                self._running.step(self._service_requests)
                idle_since = time.monotonic()
            elif not request and not self._read_ahead.step():
                self._wait()
        self._running.end_all(request_errors.stopped(why, begun=True))
        for request in self._queue.clear():
            request.fail(request_errors.stopped(why, begun=False))
        self._service_requests()

    def _wait(self) -> None:
        """Wait for a request, a job, an image or a grammar; or until maintenance is due."""
        with self._change:
            grammar = next((g for g in self._queue.grammars() if g.compiling), None)
        if grammar:
            grammar.poll(IMAGE_POLL_PERIOD)
            return
        with self._change:
            if self._queue:  # none of them is ready
                self._change.wait(IMAGE_POLL_PERIOD)
            elif not (self._stopping or self._jobs):
                self._change.wait(MAINTENANCE_PERIOD)

    def _abandon(self, error: LfmError | None = None) -> None:
        """Answer all requests in the place of a thread that hangs or has ended."""
        with self._change:
            self.hung = error = error or request_errors.hung()
            self._stopping = request_errors.DEACTIVATED
            waiting, jobs = self._queue.clear(), self._jobs.clear()
        self._running.refuse_all(error)
        for request in [r for r in (*waiting, *self._admitted) if r.answer is None]:
            request.fail(error)
        for job in jobs:
            job.fail(error)
        self._ended.set()
        self._on_hang(error)

    def _admit(self) -> Request | None:
        """Return a request on which work can begin now; the caller holds the lock."""
        if self._running and (len(self._running) >= self.parallel or self._running.full or
                              self._jobs.images):
            return None
        request = self._queue.take(self._running.missions, self._jobs.holds)
        if request:
            self._admitted = [r for r in (*self._admitted, request) if r.answer is None]
        return request

    def _service_requests(self) -> None:
        """Serve what came in since the last run of the model."""
        with self._change:
            ended = self._queue.take_ended()
            jobs = self._jobs.take(self._running.missions, self._queue)
            grammars = self._queue.grammars()
        for request in ended:
            request.fail(request_errors.ended_in_queue(request))
        self.store.structured_output.compile(grammars)
        for job in jobs:
            job.run()

    def _maintain(self, idle_seconds: float) -> None:
        try:
            self.store.maintain(idle_seconds)
        except BaseException:  # of a state that cannot be read on, say; the next turn will tell
            _log.exception('maintenance of the missions failed')
