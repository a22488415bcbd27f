# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Draft the next tokens of an answer from earlier text of the mission."""
from __future__ import annotations

from array import array
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import islice

MIN_MATCH = 3   # tokens that must match before a draft
MAX_MATCH = 16
MAX_PLACES = 8   # the latest ones that are compared
# What another row adds to a run, in parts of a run of one row: 1 row 6.4 ms, 4 rows 9.4, 8 rows
# 14.4 (LFM2-350M, int4, 2 cores). It is not measured while it runs: the same question must be
# answered in the same runs, else the last bits of its answer differ.
ROW_COST = 0.2
WORTH = 1.1       # a draft must promise so many times the speed
# The chance that a drafted token is accepted, by how many tokens match before it, and how many
# drafted tokens that counts for at the beginning of an answer.
PRIORS = ((9, 0.85), (5, 0.65), (MIN_MATCH, 0.4))
PRIOR_WEIGHT = 4.0
MEMORY = 0.9      # of what was seen earlier in the answer, at each draft
_WIDTH = array('i').itemsize


class PromptLookup:
    """
    Looks up where the last tokens stood before and what followed them (prompt lookup).

    It learns within an answer how often drafted tokens are accepted, for long and for short
    matches, and drafts nothing when that does not pay.

    :param context: all ids before the answer.
    :param most: tokens that the answer may have.
    """

    def __init__(self, context: Sequence[int], most: int) -> None:
        # Searched as bytes: a step of the model leaves nothing in the processor's caches, and then
        # a single function of numpy takes longer than this whole search.
        self._bytes = bytearray(array('i', context)) + bytes(_WIDTH * (most + 1))
        self._ids = memoryview(self._bytes).cast('i')
        self._count = len(context)
        self._right = [chance * PRIOR_WEIGHT for _, chance in PRIORS]
        self._tried = [PRIOR_WEIGHT for _ in PRIORS]
        self._kind = 0

    def append(self, token: int) -> None:
        """Take note of a token of the answer."""
        self._ids[self._count] = token
        self._count += 1

    def propose(self, most: int) -> list[int]:
        """Return a draft of up to ``most`` tokens; none when that does not pay."""
        start, length = self._find()
        if not start or most < 1:
            return []
        self._kind = next(i for i, (least, _) in enumerate(PRIORS) if length >= least)
        count = _best_count(self._right[self._kind] / self._tried[self._kind], most)
        return self._ids[start:min(start + count, self._count)].tolist()

    def record_acceptance(self, guessed: int, right: int) -> None:
        """Learn how many tokens of the last draft were accepted."""
        kind = self._kind
        seen = min(guessed, right + 1)  # what follows a rejected one proves nothing
        self._right[kind] = MEMORY * self._right[kind] + right
        self._tried[kind] = MEMORY * self._tried[kind] + seen

    def _find(self) -> tuple[int, int]:
        """Return where the longest match of the last tokens ends, and its length."""
        ids, end = self._ids, self._count
        best, longest = 0, 0
        for place in islice(self._places(), MAX_PLACES):
            length = MIN_MATCH
            while length < MAX_MATCH and place >= length - MIN_MATCH + 1 and \
                    ids[place - (length - MIN_MATCH) - 1] == ids[end - length - 1]:
                length += 1
            if length > longest:
                best, longest = place + MIN_MATCH, length
        return best, longest

    def _places(self) -> Iterator[int]:
        """Find where the last tokens stood before with something behind them, latest first."""
        if self._count <= MIN_MATCH:
            return
        end = _WIDTH * self._count
        last = self._bytes[end - _WIDTH * MIN_MATCH:end]
        place = self._bytes.rfind(last, 0, end - _WIDTH)
        while place >= 0:
            if place % _WIDTH == 0:
                yield place // _WIDTH
            place = self._bytes.rfind(last, 0, place + len(last) - 1)


def _best_count(chance: float, most: int) -> int:
    """Return how many tokens to draft when each is accepted with this chance; 0: none."""
    best, speed = 0, WORTH
    expected, right = 1.0, 1.0
    for count in range(1, most + 1):
        right *= chance
        expected += right
        if expected / (1 + ROW_COST * count) > speed:
            best, speed = count, expected / (1 + ROW_COST * count)
    return best
