# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Guess the next tokens of an answer from what stood in the mission before."""
from __future__ import annotations

from array import array
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import islice

LEAST_MATCH = 3   # tokens that must stand before what is guessed
MOST_MATCH = 16
MOST_PLACES = 8   # the latest ones that are looked at
# What another row adds to a call, in parts of a call of one row: 1 row 6.4 ms, 4 rows 9.4, 8 rows
# 14.4 (LFM2-350M, int4, 2 cores). It is no measurement of the moment: the same question must be
# answered in the same calls, else the last bits of its answer differ.
ROW_COST = 0.2
WORTH = 1.1       # a guess must promise so many times the speed
# The chance that a guessed token is right, by how many tokens stood before it, and how many
# guesses that is worth at the beginning of an answer.
PRIORS = ((9, 0.85), (5, 0.65), (LEAST_MATCH, 0.4))
PRIOR_WEIGHT = 4.0
MEMORY = 0.9      # of what was seen earlier in the answer, at each guess
_WIDTH = array('i').itemsize


class Draft:
    """
    Looks up where the last tokens stood before and what followed them (prompt lookup).

    It learns within an answer how often that is right, for long and for short matches, and falls
    silent when a guess does not pay.

    :param context: all ids before the answer.
    :param most: tokens that the answer may have.
    """

    def __init__(self, context: Sequence[int], most: int) -> None:
        # Searched as bytes: a step of the model leaves nothing in the processor's caches, and then
        # a single call of numpy takes longer than this whole search.
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

    def guess(self, most: int) -> list[int]:
        """Return up to ``most`` tokens that may come next; none when that does not pay."""
        start, length = self._find()
        if not start or most < 1:
            return []
        self._kind = next(i for i, (least, _) in enumerate(PRIORS) if length >= least)
        count = _best_count(self._right[self._kind] / self._tried[self._kind], most)
        return self._ids[start:min(start + count, self._count)].tolist()

    def judge(self, guessed: int, right: int) -> None:
        """Learn how many of the tokens of the last guess were right."""
        kind = self._kind
        seen = min(guessed, right + 1)  # what came after a wrong one says nothing
        self._right[kind] = MEMORY * self._right[kind] + right
        self._tried[kind] = MEMORY * self._tried[kind] + seen

    def _find(self) -> tuple[int, int]:
        """Return what follows the longest match of the last tokens, and its length."""
        ids, end = self._ids, self._count
        best, longest = 0, 0
        for place in islice(self._places(), MOST_PLACES):
            length = LEAST_MATCH
            while length < MOST_MATCH and place >= length - LEAST_MATCH + 1 and \
                    ids[place - (length - LEAST_MATCH) - 1] == ids[end - length - 1]:
                length += 1
            if length > longest:
                best, longest = place + LEAST_MATCH, length
        return best, longest

    def _places(self) -> Iterator[int]:
        """Find where the last tokens stood before with something behind them, latest first."""
        if self._count <= LEAST_MATCH:
            return
        end = _WIDTH * self._count
        last = self._bytes[end - _WIDTH * LEAST_MATCH:end]
        place = self._bytes.rfind(last, 0, end - _WIDTH)
        while place >= 0:
            if place % _WIDTH == 0:
                yield place // _WIDTH
            place = self._bytes.rfind(last, 0, place + len(last) - 1)


def _best_count(chance: float, most: int) -> int:
    """Return how many tokens to guess when each is right with this chance; 0: none."""
    best, speed = 0, WORTH
    expected, right = 1.0, 1.0
    for count in range(1, most + 1):
        right *= chance
        expected += right
        if expected / (1 + ROW_COST * count) > speed:
            best, speed = count, expected / (1 + ROW_COST * count)
    return best
