# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The entries of a mission, their token ids and the chunks in which these are read."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

from lfm_ros.conversation.entry import digest_of
from lfm_ros.conversation.entry import Entry
from lfm_ros.conversation.entry import TURNS
from lfm_ros.engine.vision.image import PreparedImage


@dataclass(frozen=True)
class TurnRecord:
    """
    One committed exchange.

    :param start: where its message begins in the mission's ids.
    """

    start: int
    prompt: str
    text: str
    finish_reason: str


@dataclass(eq=False, repr=False)
class Transcript:
    """
    The entries of a mission and their ids: all that its state is derived from.

    :param fingerprint: of the model whose ids these are.
    :param chunk_sizes: sizes of the chunks in which the ids were read; ``pending_sizes`` of
        those to come. For -1 see :data:`lfm_ros.engine.chunks.BATCHED`.
    :param slid: how many entries were there when keys were last moved in the state: what comes
        before cannot be had by reading any more.
    :ivar logged: how many of the entries, from the first on, are in the log.
    """

    mission_id: str
    fingerprint: str = ''
    ids: list[int] = field(default_factory=list)
    chunk_sizes: list[int] = field(default_factory=list)
    pending_sizes: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    slid: int = 0
    logged: int = 0

    @property
    def head_tokens(self) -> int:
        """Return how many tokens stand before the first turn."""
        return self.entries[0].tokens

    @property
    def digest(self) -> str:
        """Return the digest of the last entry, which names the state after it."""
        return self.entries[-1].digest

    @property
    def pending(self) -> int:
        """Return how many of the ids the model has not read yet."""
        return tokens_in(self.pending_sizes)

    @property
    def turns(self) -> list[TurnRecord]:
        """Return all turns."""
        turns, position, start = [], self.head_tokens, self.head_tokens
        for entry in self.entries[1:]:
            position += entry.tokens
            if entry.kind in TURNS:
                turns.append(TurnRecord(start, entry.prompt, entry.text, entry.finish_reason))
                start = position
        return turns

    @property
    def turn_count(self) -> int:
        """Return how many turns there are."""
        return sum(entry.kind in TURNS for entry in self.entries)

    def tokens_of(self, entries: int) -> int:
        """Return how many ids the first entries have."""
        return sum(entry.tokens for entry in self.entries[:entries])

    def parts(self, start: int = 0) -> Iterator[tuple[Entry, list[int], list[int]]]:
        """Return the entries from one on, each with its ids and the sizes of its chunks."""
        place, chunk = self.tokens_of(start), sum(e.chunk_count for e in self.entries[:start])
        sizes = self.chunk_sizes + self.pending_sizes
        for entry in self.entries[start:]:
            end, last = place + entry.tokens, chunk + entry.chunk_count
            yield entry, self.ids[place:end], sizes[chunk:last]
            place, chunk = end, last

    def push(self, ids: Sequence[int], sizes: Sequence[int]) -> None:
        """Append ids that will be read in chunks of these sizes."""
        self.ids.extend(ids)
        self.pending_sizes.extend(sizes)

    def add(self, kind: str, prompt: str = '', text: str = '', finish_reason: str = '',
            sampling: str = '', time: float = 0.0, images: Sequence[PreparedImage] = ()) -> None:
        """Make an entry of all ids and chunks that belong to none yet."""
        place, chunk = self.tokens_of(len(self.entries)), sum(e.chunk_count for e in self.entries)
        ids, chunk_sizes = self.ids[place:], (self.chunk_sizes + self.pending_sizes)[chunk:]
        entry = Entry(kind, len(ids), len(chunk_sizes), prompt, text, finish_reason, sampling,
                      time, images=tuple(images))
        self._append(entry, ids, chunk_sizes)

    def drop_oldest(self, count: int, opening: int) -> tuple[int, int]:
        """
        Let the oldest entries after the head go.

        :param opening: tokens that open a user message; they stay when the cut is inside one.
        :returns: where in the ids they were, and how many of these are gone.
        """
        gone = self.entries[1:1 + count]
        kept = opening if gone[-1].kind not in TURNS else 0
        start, tokens = self.head_tokens + kept, sum(e.tokens for e in gone) - kept
        first, last = self.entries[0].chunk_count, sum(
            e.chunk_count for e in self.entries[:1 + count])
        chunk_sizes, rest = self.chunk_sizes + self.pending_sizes, self.entries[1 + count:]
        # A state after what stays is none of those that had the same entries before.
        parent = digest_of(self.digest, gone[-1], (), (count, tokens))
        del self.entries[1:], self.ids[start:start + tokens]
        self.chunk_sizes, self.pending_sizes, sizes = chunk_sizes[:first], [], chunk_sizes[last:]
        self.logged, position = 0, self.head_tokens
        for entry in rest:
            own, sizes = sizes[:entry.chunk_count], sizes[entry.chunk_count:]
            if kept:
                own, kept = [kept, *own], 0
                entry = replace(entry, tokens=entry.tokens + opening)
            ids = self.ids[position:position + entry.tokens]
            position += entry.tokens
            self.pending_sizes.extend(own)
            self._append(replace(entry, chunk_count=len(own)), ids, own, parent)
            parent = self.digest
        return start, tokens

    def cut(self, entries: int) -> None:
        """Keep only the first entries; none of their ids has been read yet."""
        count = sum(entry.chunk_count for entry in self.entries[:entries])
        del self.ids[self.tokens_of(entries):], self.pending_sizes[count:], self.entries[entries:]
        self.logged = min(self.logged, entries)

    def verified(self) -> int:
        """Return how many entries, from the first on, are as they were written."""
        for number, (entry, ids, chunk_sizes) in enumerate(self.parts()):
            before = self.entries[:number]
            if number == 1 and not self.slid and entry.parent != before[0].digest or \
                    not entry.follows(before, ids, chunk_sizes):
                return number
        return len(self.entries)

    def _append(self, entry: Entry, ids: Sequence[int], chunk_sizes: Sequence[int],
                parent: str | None = None) -> None:
        if parent is None:
            parent = self.digest if self.entries else ''
        self.entries.append(replace(entry, parent=parent,
                                    digest=digest_of(parent, entry, ids, chunk_sizes)))


def tokens_in(chunk_sizes: Sequence[int]) -> int:
    """Return how many tokens are read in chunks of these sizes."""
    return sum(map(abs, chunk_sizes))


def chunks_until(chunk_sizes: Sequence[int], position: int) -> int:
    """Return how many chunks lead to a position."""
    total = 0
    for place, size in enumerate(chunk_sizes):
        if total == position:
            return place
        total += abs(size)
    assert total == position, 'calls and positions disagree'
    return len(chunk_sizes)
