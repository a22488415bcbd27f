# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests that wait for the model."""
from __future__ import annotations

from collections import deque

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.missions.request import Request

REJECT = 'reject'
DROP_OLDEST = 'drop_oldest'
KEEP_LAST = 'keep_last'
POLICIES = {
    REJECT: 'a request that finds the queue full is refused',
    DROP_OLDEST: 'it takes the place of the one that waits longest',
    KEEP_LAST: 'at most one request per mission waits, a newer one takes its place',
}


class RequestQueue:
    """
    A bounded queue, first in first out. Not safe for threads.

    :param size: how many requests may wait.
    :param policy: one of :data:`POLICIES`: what happens when there is no place.
    """

    def __init__(self, size: int, policy: str = REJECT) -> None:
        self.size = size
        self.policy = policy
        self._waiting: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, request: Request) -> Request | None:
        """
        Take a request.

        :returns: the request that lost its place and must be answered.
        :raises LfmError: QUEUE_FULL.
        """
        displaced = None
        if self.policy == KEEP_LAST:
            mission = request.query.mission_id
            displaced = next((r for r in self._waiting if r.query.mission_id == mission), None)
        elif self.policy == DROP_OLDEST and len(self._waiting) >= self.size and self._waiting:
            displaced = self._waiting[0]
        if displaced:
            self._waiting.remove(displaced)
        elif len(self._waiting) >= self.size:
            raise LfmError(ErrorCode.QUEUE_FULL, f'{len(self._waiting)} requests wait already: '
                           'ask again later or raise queue.size')
        self._waiting.append(request)
        return displaced

    def take(self) -> Request | None:
        """Return the request that waits longest."""
        return self._waiting.popleft() if self._waiting else None

    def take_ended(self) -> list[Request]:
        """Return the requests that were cancelled or whose time is over."""
        ended = [r for r in self._waiting if r.cancelled or r.expired]
        for request in ended:
            self._waiting.remove(request)
        return ended

    def clear(self) -> list[Request]:
        """Return all requests and forget them."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting
