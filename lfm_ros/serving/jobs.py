# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Other work on missions, done in the model thread between two runs: reset, fork, export, ..."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from collections.abc import Set
from concurrent.futures import Future
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving import request_errors
from lfm_ros.serving.queue import RequestQueue

MAX_JOBS = 256


@dataclass(frozen=True)
class Job:
    """
    One piece of work.

    :param number: in the order in which requests and jobs came.
    :param missions: it waits for the end of all earlier requests to one of them.
    :param images: that it decodes; it then waits for the end of any answer.
    """

    number: int
    missions: frozenset[str]
    work: Callable[[], Any]
    images: Sequence[ImageSource] = ()
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> None:
        """Do it, unless it was cancelled; its future gets the result or the error."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.work()
        except Exception as error:
            self.future.set_exception(error)
        except BaseException as error:  # not one that others could expect
            self.future.set_exception(request_errors.unexpected(error))
        else:
            self.future.set_result(result)

    def fail(self, error: LfmError) -> None:
        """Give its future an error, unless it is done or was cancelled."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class JobQueue:
    """Jobs that wait. Not safe for threads."""

    def __init__(self) -> None:
        self._waiting: list[Job] = []
        self._taken: list[Job] = []  # perhaps not yet done

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def images(self) -> list[ImageSource]:
        """The images of all jobs that wait."""
        return [image for job in self._waiting for image in job.images]

    def put(self, job: Job) -> None:
        """
        Take a job.

        :raises LfmError: QUEUE_FULL.
        """
        if len(self._waiting) >= MAX_JOBS:
            raise LfmError(ErrorCode.QUEUE_FULL,
                           f'{MAX_JOBS} operations wait already: send fewer')
        self._waiting.append(job)

    def ready(self, busy: Set[str], queue: RequestQueue) -> list[Job]:
        """
        Return the jobs that may be done now.

        :param busy: missions that are answered now; ``queue``: the requests that wait.
        """
        found, held = [], set(busy)
        for job in self._waiting:
            if held & job.missions or (busy and job.images) or \
                    queue.holds(job.missions, job.number):
                held |= job.missions  # what came later for one of them must not overtake it
            else:
                found.append(job)
        return found

    def holds(self, mission: str, before: int) -> bool:
        """Return whether a job for this mission waits with a lower number."""
        return any(job.number < before and mission in job.missions for job in self._waiting)

    def take(self, busy: Set[str], queue: RequestQueue) -> list[Job]:
        """Take the jobs that may be done now out of the queue."""
        self._taken = self.ready(busy, queue)
        for job in self._taken:
            self._waiting.remove(job)
        return self._taken

    def clear(self) -> list[Job]:
        """Return all jobs that may not be done yet, and forget those that wait."""
        jobs = [*self._taken, *self._waiting]
        self._waiting.clear()
        return jobs
