# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that runs the model."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
import itertools
import logging
import threading
import time
from typing import Any

from lfm_ros.engine.picture import ImageSource
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.runner import Interrupted
from lfm_ros.engine.sampling import Sampling
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.missions import refusals
from lfm_ros.missions.active import ActiveTurn
from lfm_ros.missions.active import NoRoomYet
from lfm_ros.missions.constraints import GrammarPending
from lfm_ros.missions.queue import REJECT
from lfm_ros.missions.queue import RequestQueue
from lfm_ros.missions.request import Answer
from lfm_ros.missions.request import Piece
from lfm_ros.missions.request import Query
from lfm_ros.missions.request import Request
from lfm_ros.missions.store import MissionStore
from lfm_ros.missions.watchdog import Watchdog

MOST_JOBS = 256
MOST_IMAGE_BYTES = 32 << 20  # of images that wait; one that is larger waits alone
LOOK_PERIOD = 0.01  # seconds between two looks whether an image has come
CARE_PERIOD = 1.0  # seconds between two looks at what is to be stored or has expired

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Defaults:
    """What a query gets where it does not say; may be replaced at any time."""

    sampling: Sampling = Sampling()
    max_tokens: int = 256
    timeout: float = 0.0


@dataclass(frozen=True)
class _Job:
    """Work on missions that is no turn, done in the thread of the model between two calls."""

    number: int
    missions: frozenset[str]
    work: Callable[[], Any]
    future: Future[Any]
    images: Sequence[ImageSource] = ()


class Scheduler:
    """
    Answers requests in a thread of its own: one after the other, or several missions together.

    Between two calls of the model it looks at what else came in: cancelled and expired requests,
    work on other missions. When there is nothing to answer it reads observations ahead. A call
    that takes longer than the model's ``run_timeout`` is ended by a watchdog.

    :param store: the missions; touched only by the thread while it runs.
    :param parallel: most answers in progress at once, as far as the model can step together.
    :param on_lost: called in another thread when the model hangs for good, with what everybody
        was answered; only another process can run it then.
    :ivar lost: that error; None: the thread of the model is there.
    """

    def __init__(self, store: MissionStore, queue_size: int = 8, policy: str = REJECT,
                 defaults: Defaults = Defaults(), parallel: int = 1,
                 on_lost: Callable[[LfmError], None] = lambda _: None) -> None:
        self.store = store
        self.defaults = defaults
        self.parallel = max(1, min(parallel, store.model.runner.company_size))
        self.lost: LfmError | None = None
        self._on_lost = on_lost
        self._active: tuple[ActiveTurn, ...] = ()  # replaced whole: other threads look at it
        self._admitted: list[Request] = []  # taken from the queue and, as far as known, unanswered
        self._full = False  # no room for another answer beside those in progress
        self._last_speed = 0.0
        self._queue = RequestQueue(queue_size, policy)
        self._jobs: deque[_Job] = deque()
        self._in_work: list[_Job] = []  # taken from these, not yet done
        self._numbers = itertools.count(1)
        self._reading_ahead = Interrupt()
        self._unreadable: set[str] = set()  # not read ahead until the next question
        self._change = threading.Condition()
        self._stopping = False
        self._ended = threading.Event()  # the thread, or it is lost
        timeout = store.model.options.run_timeout
        self._watchdog = Watchdog(store.model.runs, timeout, self._lose) if timeout else None
        self._thread = threading.Thread(target=self._run, name='lfm_model', daemon=True)
        self._thread.start()

    @property
    def tokens_per_second(self) -> float:
        """Return the speed of the running answers together, or of the last one."""
        active = self._active
        return sum(turn.tokens_per_second for turn in active) if active else self._last_speed

    @property
    def running(self) -> Request | None:
        """Return the request that is answered now; of several the first."""
        active = self._active
        return active[0].request if active else None

    @property
    def queue_length(self) -> int:
        """Return how many requests wait."""
        return len(self._queue)

    @property
    def queue_size(self) -> int:
        """Return how many requests may wait."""
        return self._queue.size

    def submit(self, query: Query, on_piece: Callable[[Piece], None] | None = None,
               on_answer: Callable[[Answer], None] | None = None) -> Request:
        """
        Take a query; returns at once.

        :returns: the request, which is answered in any case, with an error if need be.
        """
        timeout = query.timeout if query.timeout > 0 else self.defaults.timeout
        request = Request(query, timeout if timeout < float('inf') else 0.0, on_piece, on_answer)
        try:
            query.check()
            if query.images:
                self.store.model.sight()  # refuses a text model
            self.defaults.sampling.changed(query.sampling)
            displaced = self._enqueue(request)
        except Exception as error:
            request.fail(self._reason(error))
            return request
        if displaced:
            displaced.fail(refusals.displaced())
        return request

    def call(self, work: Callable[[], Any], *missions: str,
             images: Sequence[ImageSource] = ()) -> Future[Any]:
        """
        Do work on missions in the thread of the model; returns at once.

        :param missions: the work waits for the end of all requests to one of them that came
            earlier.
        :param images: that the work takes in; it then waits for the end of any answer, since that
            takes long.
        """
        future: Future[Any] = Future()
        with self._change:
            if self._stopping:
                future.set_exception(self.lost or refusals.not_active())
            elif len(self._jobs) >= MOST_JOBS:
                future.set_exception(LfmError(
                    ErrorCode.QUEUE_FULL, f'{MOST_JOBS} operations wait already: send fewer'))
            elif images and not self._holds(images):
                future.set_exception(refusals.too_many_images())
            else:
                self._jobs.append(_Job(next(self._numbers), frozenset(missions), work, future,
                                       images))
                self._change.notify()
        return future

    def observe(self, mission_id: str, text: str, images: Sequence[ImageSource] = ()
                ) -> Future[Any]:
        """Tell or show a mission something that needs no answer; returns at once."""
        return self.call(lambda: self.store.observe(mission_id, text, images), mission_id,
                         images=images)

    def stop(self) -> bool:
        """
        Undo what runs, answer all that waits, end the thread; the missions stay.

        :returns: whether there was anything to answer.
        """
        with self._change:
            self._stopping = True
            running = self._active
            busy = bool(running or self._jobs or len(self._queue))
            self._change.notify()
        self._reading_ahead.set()
        for turn in running:
            turn.request.cancel()
        if threading.current_thread() is not self._thread:
            self._ended.wait()
            if not self.lost:
                self._thread.join()
        return busy

    def _enqueue(self, request: Request) -> Request | None:
        with self._change:
            if self._stopping:
                raise self.lost or refusals.not_active()
            if request.query.images and not self._holds(request.query.images):
                raise refusals.too_many_images()
            request.wake = self._wake
            request.number = next(self._numbers)
            displaced = self._queue.put(request, self._free(request.query.mission_id))
            self._change.notify()
            return displaced

    def _free(self, mission_id: str) -> int:
        """Return how many answers could begin at once; the caller holds the lock."""
        active = self._active
        if any(turn.mission_id == mission_id for turn in active):
            return 0
        return self.parallel - len(active)

    def _holds(self, images: Sequence[ImageSource]) -> bool:
        """Tell whether images may wait, too; the caller holds the lock."""
        waiting = [*self._queue.images(), *(i for job in self._jobs for i in job.images)]
        return not waiting or sum(i.nbytes for i in [*waiting, *images]) <= MOST_IMAGE_BYTES

    def _wake(self) -> None:
        with self._change:
            self._change.notify()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            _log.critical('the thread of the model has ended', exc_info=error)
            self._lose(refusals.ended(error))
        finally:
            if self._watchdog:
                self._watchdog.stop()
            self._ended.set()

    def _loop(self) -> None:
        idle_since = looked_after = time.monotonic()
        while True:
            self._look_around()
            now = time.monotonic()
            if now - looked_after >= CARE_PERIOD:
                self._look_after(now - idle_since)
                looked_after = time.monotonic()
            with self._change:
                if self._stopping:
                    break
                if self._ready():  # it came while we looked away, perhaps before the request
                    continue
                request = self._admit()
            if request:
                self._begin(request)
            if self._active:
                self._round()
                idle_since = time.monotonic()
            elif not request and not self._read_ahead():
                with self._change:
                    grammar = next((g for g in self._queue.grammars() if g.compiling), None)
                if grammar:
                    grammar.poll(LOOK_PERIOD)
                    continue
                with self._change:
                    if len(self._queue):  # none of them is ready
                        self._change.wait(LOOK_PERIOD)
                    elif not (self._stopping or self._jobs):
                        self._change.wait(CARE_PERIOD)
        for turn in self._active:
            self._end(turn, refusals.stopped(begun=True))
        for request in self._queue.clear():
            request.fail(refusals.stopped(begun=False))
        self._look_around()

    def _lose(self, error: LfmError | None = None) -> None:
        """Answer everybody in the place of a thread that will not come back, or has ended."""
        error = error or refusals.lost()
        with self._change:
            self.lost = error
            self._stopping = True
            waiting, jobs = self._queue.clear(), [*self._in_work, *self._jobs]
            self._jobs.clear()
        for turn in self._active:
            turn.refuse(error)
        for request in (*waiting, *self._admitted):
            if request.answer is None:
                request.fail(error)
        for job in jobs:
            with suppress(InvalidStateError):  # done, or cancelled
                job.future.set_exception(error)
        self._ended.set()
        self._on_lost(error)

    def _admit(self) -> Request | None:
        """Return a request on which work can begin now; the caller holds the lock."""
        if self._active and (len(self._active) >= self.parallel or self._full or
                             any(job.images for job in self._jobs)):
            return None
        request = self._queue.take([turn.mission_id for turn in self._active])
        if request:
            self._admitted = [r for r in (*self._admitted, request) if r.answer is None]
        return request

    def _begin(self, request: Request) -> None:
        request.started = time.monotonic()
        query, defaults = request.query, self.defaults
        self._unreadable.discard(query.mission_id)
        self._active = (*self._active, ActiveTurn(
            request, self.store, defaults.sampling.changed(query.sampling),
            query.max_tokens or defaults.max_tokens, patient=bool(self._active)))

    def _round(self) -> None:
        """
        Let every answer in progress grow by a token, and one question be read on by a call.

        So a long prompt never holds an answer up for longer than a call takes.
        """
        self._step_together([turn for turn in self._active if turn.wants_one])
        reading = [turn for turn in self._active if not turn.decoding]
        for turn in reading:
            turn.hurry(len(reading) < len(self._active))
        for turn in [turn for turn in self._active if turn.decoding] + reading[:1]:
            self._advance(turn)
            self._look_around()
        for turn in reading[1:]:
            try:
                turn.check()
            except BaseException as error:
                self._end(turn, error)
        if reading[1:]:  # the next one has its turn
            self._active = (*(t for t in self._active if t is not reading[0]),
                            *(t for t in self._active if t is reading[0]))

    def _step_together(self, turns: list[ActiveTurn]) -> None:
        if len(turns) < 2:
            return
        try:
            rows = self.store.model.runner.step_together(
                [turn.generation.state for turn in turns],
                [turn.generation.ids[-1] for turn in turns])
        except BaseException as error:  # of each of them
            for turn in turns:
                self._end(turn, error)
            return
        for turn, logits in zip(turns, rows):
            turn.generation.serve(logits)

    def _advance(self, turn: ActiveTurn) -> None:
        try:
            complete = turn.advance()
        except NoRoomYet:
            self._put_back(turn)
            self._full = True  # until an answer is complete
        except GrammarPending:
            self._put_back(turn)
        except BaseException as error:  # a panic in a library is no Exception
            self._end(turn, error)
        else:
            if complete:
                self._leave(turn)
                turn.complete()

    def _put_back(self, turn: ActiveTurn) -> None:
        """Let a request wait again that was taken too early."""
        turn.undo()
        self._leave(turn)
        with self._change:
            self._queue.put_back(turn.request)

    def _end(self, turn: ActiveTurn, error: BaseException) -> None:
        self._leave(turn)
        try:
            turn.fail(self._reason(error))
        except BaseException as another:  # the state is not what it was, so nothing can go on
            turn.refuse(refusals.unexpected(another))
            raise

    def _leave(self, turn: ActiveTurn) -> None:
        self._active = tuple(other for other in self._active if other is not turn)
        self._last_speed, self._full = turn.tokens_per_second, False
        self.store.model.runner.leave_company()

    def _reason(self, error: BaseException) -> LfmError:
        if isinstance(error, Interrupted):
            return refusals.stopped(begun=True) if self._stopping else refusals.cancelled()
        return refusals.as_error(error)

    def _ready(self) -> list[_Job]:
        """Return the work that may be done now; the caller holds the lock."""
        busy = {turn.mission_id for turn in self._active}
        return [j for j in self._jobs if not busy & j.missions and not (busy and j.images)
                and not self._queue.holds(j.missions, j.number)]

    def _look_around(self) -> None:
        """Serve what came in since the last call of the model."""
        with self._change:
            ended = self._queue.take_ended()
            ready = self._ready()
            for job in ready:
                self._jobs.remove(job)
            self._in_work = ready
            grammars = self._queue.grammars()
        for request in ended:
            waited = time.monotonic() - request.arrived
            request.fail(refusals.cancelled() if request.cancelled else
                         refusals.too_late_in_queue(waited) if request.ready else
                         refusals.too_late_for_format(waited) if request.compiling else
                         refusals.too_late_for_image(waited))
        self.store.compile_grammars(grammars)
        for job in ready:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                result = job.work()
            except Exception as error:
                job.future.set_exception(error)
            except BaseException as error:  # not one that others could expect
                job.future.set_exception(refusals.unexpected(error))
            else:
                job.future.set_result(result)

    def _look_after(self, idle_seconds: float) -> None:
        try:
            self.store.look_after(idle_seconds)
        except BaseException:  # of a state that cannot be read on, say; the next turn will tell
            _log.exception('looking after the missions failed')

    def _read_ahead(self) -> bool:
        """Read one call of an observation; false when there is nothing to read."""
        mission = self.store.unread(self._unreadable)
        if mission is None:
            return False
        if self._reading_ahead.is_overdue:
            self._reading_ahead = Interrupt()
        try:
            for _ in mission.look_ahead(self._reading_ahead):
                return True  # a tile takes as long as a call
            mission.read_next(self._reading_ahead)
        except Interrupted:
            return False
        except BaseException as error:  # the question that needs it will be answered with it
            _log.error('reading ahead failed: %s', str(error) or type(error).__name__)
            self._unreadable.add(mission.mission_id)
        return True
