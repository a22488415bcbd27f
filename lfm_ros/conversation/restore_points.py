# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places in the state of a mission to which going back costs nothing."""
from __future__ import annotations

from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.state import Mark

MAX_RESTORE_POINTS = 32


class RestorePoints:
    """
    The restore points of one mission, in order; between two of them ids are read again.

    :param first: the one after the system prompt, which stays.
    """

    def __init__(self, first: Mark) -> None:
        self._marks = [first]

    @property
    def first(self) -> Mark:
        """The restore point after the system prompt."""
        return self._marks[0]

    @property
    def last(self) -> Mark:
        """The newest restore point."""
        return self._marks[-1]

    @property
    def nbytes(self) -> int:
        """The memory of all of them in bytes."""
        return sum(mark.nbytes for mark in self._marks)

    def copy(self) -> RestorePoints:
        """Return the same restore points, for another mission or for later."""
        other = RestorePoints(self.first)
        other._marks = list(self._marks)
        return other

    def to(self, memory: HostMemory) -> RestorePoints:
        """Return the same restore points in other memory."""
        other = RestorePoints(self.first)
        other._marks = [mark.to(memory) for mark in self._marks]
        return other

    def add(self, mark: Mark) -> None:
        """Add one; every second older one goes: a rewind stays cheap where it is likely."""
        self._marks.append(mark)
        if len(self._marks) > MAX_RESTORE_POINTS:
            del self._marks[1:-MAX_RESTORE_POINTS // 2:2]

    def keep_first(self) -> None:
        """Keep only the one after the system prompt."""
        del self._marks[1:]

    def keep_until(self, position: int) -> None:
        """Keep only those up to a position."""
        self._marks = [mark for mark in self._marks if mark.position <= position]

    def slide(self, start: int, count: int, preamble: int) -> None:
        """
        Follow :meth:`State.slide`.

        :param start: where ``count`` rows were removed; those inside of them are gone.
        :param preamble: tokens before the first turn.
        """
        self._marks = [mark if mark.position <= start else mark.moved(count)
                       for mark in self._marks
                       if mark.position <= preamble or mark.position > start + count]
