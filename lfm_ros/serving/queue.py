# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests that wait for the model."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence

from lfm_ros.engine.grammar.grammar import Grammar
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.request import Request

MAX_IMAGE_BYTES = 32 << 20  # of images that wait; one that is larger waits alone

REJECT = 'reject'
DROP_OLDEST = 'drop_oldest'
KEEP_LAST = 'keep_last'
POLICIES = {
    REJECT: 'the new request is rejected',
    DROP_OLDEST: 'the new request displaces the oldest waiting one',
    KEEP_LAST: 'at most one request per mission waits, and a newer one displaces it',
}


def check_images_fit(images: Sequence[ImageSource], waiting: Sequence[ImageSource]) -> None:
    """
    Refuse images that find no place beside those that wait.

    :raises LfmError: QUEUE_FULL.
    """
    if images and waiting and \
            sum(image.nbytes for image in [*waiting, *images]) > MAX_IMAGE_BYTES:
        raise LfmError(ErrorCode.QUEUE_FULL, 'too many bytes of images wait already: ask again '
                       'later, or send compressed images')


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

    def put(self, request: Request, free: int = 0) -> Request | None:
        """
        Take a request.

        :param free: how many requests beyond ``size`` fit, since the model is idle.
        :returns: the request that lost its place and must be answered.
        :raises LfmError: QUEUE_FULL.
        """
        if self.policy == KEEP_LAST:
            mission = request.query.mission_id
            for place, other in enumerate(self._waiting):
                if other.query.mission_id == mission:
                    self._waiting[place] = request
                    return other
        displaced = None
        if len(self._waiting) >= self.size + free:
            if self.policy != DROP_OLDEST or not self._waiting:
                raise LfmError(ErrorCode.QUEUE_FULL, f'{len(self._waiting)} requests wait '
                               'already: ask again later or raise queue.size')
            displaced = self._waiting.popleft()
        self._waiting.append(request)
        return displaced

    def holds(self, missions: Collection[str], before: int) -> bool:
        """Return whether a request for one of these missions waits with a lower number."""
        return any(r.number < before and r.query.mission_id in missions for r in self._waiting)

    def put_back(self, request: Request) -> None:
        """Take a request that was taken too early; it is the next again."""
        self._waiting.appendleft(request)

    def take(self, busy: Iterable[str] = (),
             waits: Callable[[str, int], bool] = lambda mission, number: False) -> Request | None:
        """
        Return the request that waits longest.

        One whose images are not there yet, or whose grammar is not compiled, lets those to other
        missions pass.

        :param busy: missions to which no request may begin now.
        :param waits: whether other work on a mission must be done before a request of this number.
        """
        held = set(busy)
        for request in self._waiting:
            mission = request.query.mission_id
            if mission not in held and request.ready and not waits(mission, request.number):
                self._waiting.remove(request)
                return request
            held.add(mission)
        return None

    def images(self) -> list[ImageSource]:
        """Return the images of all requests that wait."""
        return [image for request in self._waiting for image in request.query.images]

    def grammars(self) -> list[Grammar]:
        """Return the grammars that requests wait for."""
        return [r.grammar for r in self._waiting if r.grammar and r.compiling]

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
