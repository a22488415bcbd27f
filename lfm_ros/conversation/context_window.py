# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Choose the entries that leave a mission whose context is full."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.conversation.entry import Entry
from lfm_ros.conversation.entry import TURNS

REFUSE = 'refuse'
FORGET = 'forget'
SLIDE = 'slide'
POLICIES = {
    REFUSE: 'the request is rejected',
    FORGET: 'the oldest turns are dropped and the rest is recomputed, which is exact but slow',
    SLIDE: 'the oldest turns are dropped and the cached keys shifted, which is fast, but the '
           'remaining cache still reflects the dropped turns',
}


def choose_oldest(entries: Sequence[Entry], allowed: int, wanted: int, opening: int) -> int:
    """
    Return how many of the oldest entries have to go; whole turns, as long as there are any.

    :param entries: of a mission without its head.
    :param allowed: most tokens that may stay; ``wanted`` those that should, so that the next
        turns need not make room again.
    :param opening: tokens that open a user message; they stay when a cut is inside one.
    """
    total = sum(entry.tokens for entry in entries)
    count = 0
    for place, entry in enumerate(entries, 1):
        if total <= wanted or not any(e.kind in TURNS for e in entries[count:]):
            break
        if entry.kind in TURNS:
            total -= sum(e.tokens for e in entries[count:place])
            count = place
    kept = 0
    while total + kept > allowed and count < len(entries) - 1:  # only an open message is left
        total -= entries[count].tokens
        count, kept = count + 1, opening
    return count
