# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A transcript together with the model's state after the first of its ids."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import copy
from dataclasses import dataclass
from dataclasses import fields
import math
from typing import Any

from lfm_ros.conversation.image_features import ImageFeatures
from lfm_ros.conversation.restore_points import RestorePoints
from lfm_ros.conversation.transcript import chunks_until
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.chunks import BATCHED
from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.state import Mark
from lfm_ros.engine.runtime.state import Rotation
from lfm_ros.engine.vision.image import PreparedImage
import numpy as np


@dataclass(frozen=True)
class Savepoint:
    """All that a turn may change, as it was before."""

    mark: Mark
    ids: int
    chunk_count: int
    entries: int
    pending_sizes: tuple[int, ...]
    restore_points: RestorePoints
    resets: int


class CachedTranscript(Transcript):
    """
    A transcript of which the model has read the first ids, and the state after them.

    The ids are the truth, the state is derived. They are read in chunks whose sizes are recorded
    (``chunk_sizes``, then ``pending_sizes``): logits of quantized models depend slightly on how
    tokens are split, and what is read again must answer as before.

    :ivar image_features: of the images that are being read.
    :ivar forgotten: tokens that left to make room, since this object was made.
    :ivar before_cut: called before keys and values are changed.
    """

    def __init__(self, mission_id: str, model: Model) -> None:
        super().__init__(mission_id, model.folder.fingerprint)
        self.model = model
        self.state = model.new_state()
        self.image_features = ImageFeatures(model)
        self.forgotten = 0
        self.before_cut: Callable[[], None] = lambda: None
        self.restore_points = RestorePoints(self.state.mark())
        self._resets = 0  # of a state that proved to be useless
        self._spoiled: Callable[[], None] | None = None  # to be told; None: the state is proved

    def take_transcript(self, transcript: Transcript) -> None:
        """Take what is in a transcript; all of it is still to be read."""
        for each in fields(Transcript):
            value = getattr(transcript, each.name)
            setattr(self, each.name, list(value) if isinstance(value, list) else value)
        self.chunk_sizes, self.pending_sizes = [], self.chunk_sizes + self.pending_sizes

    @property
    def nbytes(self) -> int:
        """The memory that it takes in bytes."""
        images = sum(image.nbytes for image in self._images()) + self.image_features.nbytes
        return self.state.nbytes + self.restore_points.nbytes + images + \
            8 * (len(self.ids) + len(self.chunk_sizes))

    @property
    def device_nbytes(self) -> int:
        """The bytes that its state takes in memory that is no part of the process."""
        return self.state.nbytes + self.restore_points.nbytes if self.state.memory.separate else 0

    @property
    def offloaded(self) -> bool:
        """Whether its state is in the memory of the host while the model runs on a device."""
        return self.state.memory is not self.model.memory

    def move_to(self, memory: HostMemory) -> None:
        """Move its state into other memory, or change nothing when there is not enough."""
        points = self.restore_points.to(memory)
        self.state.move_to(memory)
        self.restore_points = points

    def device_nbytes_at(self, tokens: int) -> int:
        """Return :attr:`device_nbytes` once it has that many tokens, a turn later."""
        marks = self.restore_points.nbytes + self.restore_points.first.nbytes
        return self.state.nbytes_at(tokens) + marks if self.model.memory.separate else 0

    def nbytes_at(self, tokens: int) -> int:
        """Return the bytes that it may take once it has that many tokens, a turn later."""
        state = self.state.nbytes_at(tokens) - self.state.nbytes
        # That turn adds a restore point, and each of its tokens may be read as a chunk of its own.
        return self.nbytes + state + self.restore_points.first.nbytes + \
            16 * max(0, tokens - len(self.ids))

    def copy(self) -> Any:
        """Return a copy with a state of its own; the log has nothing of it."""
        other = copy.copy(self)
        for each in fields(Transcript):
            value = getattr(self, each.name)
            if isinstance(value, list):
                setattr(other, each.name, list(value))
        other.logged = 0
        other.state = self.state.copy()
        other.restore_points = self.restore_points.copy()
        other.image_features = ImageFeatures(self.model)
        return other

    def adopt_state(self, other: CachedTranscript) -> None:
        """Begin with the state of a transcript that is the beginning of this one."""
        self.state = other.state.copy()
        self.restore_points = other.restore_points.copy()
        self._split_sizes()

    def state_restored(self) -> None:
        """Note that the state was brought to the end of an entry from outside."""
        self._split_sizes()
        self.restore_points.add(self.state.mark())

    def doubt(self, spoiled: Callable[[], None]) -> None:
        """
        Note that the state came from outside and no run has proved it.

        :param spoiled: called when the next run gives no finite logits; all is then read again.
        """
        self._spoiled = spoiled

    def split_next(self, most: int) -> None:
        """Make the next chunk no longer than this; its ids must belong to no entry yet."""
        if self.pending_sizes[0] > most:
            self.pending_sizes[:1] = [most, self.pending_sizes[0] - most]

    def prefill_next(self, cancel_token: CancelToken | None = None) -> np.ndarray:
        """
        Read the next pending chunk.

        Where that shows that a state from outside is of no use, more is pending afterwards.

        :returns: float32 logits ``[vocabulary]`` after it.
        """
        start, runner = self.state.position, self.model.runner
        count = self.pending_sizes[0]
        if count == BATCHED:
            logits = runner.replay_batched_step(self.state, self.ids[start])
        else:
            features = self.image_features.features(self._images(), self.ids, start, count,
                                                    cancel_token)
            logits = runner.run(self.state, self.ids[start:start + count],
                                cancel_token=cancel_token, features=features)
        self.chunk_sizes.append(self.pending_sizes.pop(0))
        spoiled, self._spoiled = self._spoiled, None
        if spoiled and not math.isfinite(logits[-1].max()):
            spoiled()
            self._reset_state()
            return self.prefill_next(cancel_token)
        return logits[-1]

    def prefetch(self, cancel_token: CancelToken | None = None) -> Iterator[None]:
        """Encode the images of the next chunk; yields after every tile."""
        return self.image_features.prefetch(self._images(), self.ids, self.state.position,
                                            abs(self.pending_sizes[0]), cancel_token)

    def prefill_all(self) -> None:
        """Read all that is pending."""
        while self.pending_sizes:
            self.prefill_next()

    def recompute(self) -> None:
        """Have all entries read anew, as if they had just been added."""
        ids, entries, first = self.ids, self.entries, self.restore_points.first
        self.state.restore(first)
        sizes = self.chunk_sizes + self.pending_sizes
        self.chunk_sizes, self.pending_sizes = sizes[:chunks_until(sizes, first.position)], []
        self.restore_points.keep_first()
        self.ids, self.entries, self.slid, self.logged = [], [], 0, 0
        place = 0
        for entry in entries:
            end = place + entry.tokens
            if place < first.position:
                self.ids.extend(ids[place:end])
            else:
                self._push(ids[place:end])
            self.add(entry.kind, entry.prompt, entry.text, entry.finish_reason, entry.sampling,
                     entry.time, entry.images)
            place = end

    def forget(self, count: int, opening: int) -> None:
        """
        Drop the oldest entries; the rest becomes pending and is read again.

        :param opening: see :meth:`drop_oldest`.
        """
        self.before_cut()
        _, tokens = self.drop_oldest(count, opening)
        self.forgotten += tokens
        self.recompute()

    def slide(self, count: int, opening: int, rotation: Rotation) -> None:
        """
        Drop the oldest entries and move the keys and values of the rest.

        :param opening: see :meth:`drop_oldest`; ``rotation`` see :meth:`State.slide`.
        """
        self.before_cut()
        start, tokens = self.drop_oldest(count, opening)
        self.state.slide(start, tokens, rotation)
        self.chunk_sizes, self.pending_sizes = self.chunk_sizes + self.pending_sizes, []
        self.restore_points.slide(start, tokens, self.head_tokens)
        self.forgotten += tokens
        self.slid = len(self.entries)
        self.restore_points.add(self.state.mark())

    def keep(self, entries: int) -> None:
        """
        Go back to where there were that many entries.

        The state comes from the nearest restore point; what lies between is read again, in the
        chunks of the first time.
        """
        self.before_cut()
        target, slid = self.tokens_of(entries), self.tokens_of(self.slid)
        del self.entries[entries:], self.ids[target:]
        self.logged = min(self.logged, entries)
        self.restore_points.keep_until(target)
        sizes, mark = self.chunk_sizes + self.pending_sizes, self.restore_points.last
        if mark.position < self.state.position:
            self.state.restore(mark)
        del sizes[chunks_until(sizes, target):]
        self.chunk_sizes, self.pending_sizes = [], sizes
        self._split_sizes()
        if mark.position < slid:  # reading on from there would not give what was there
            self.recompute()

    def save(self) -> Savepoint:
        """Return all that a turn may change."""
        return Savepoint(self.state.mark(), len(self.ids), len(self.chunk_sizes),
                         len(self.entries), tuple(self.pending_sizes),
                         self.restore_points.copy(), self._resets)

    def undo(self, point: Savepoint) -> None:
        """Go back to a savepoint."""
        if point.resets == self._resets:
            self.state.restore(point.mark)
            del self.chunk_sizes[point.chunk_count:]
            self.pending_sizes = list(point.pending_sizes)
            self.restore_points = point.restore_points.copy()
        else:  # the state that there was proved to be useless: the same is read again
            sizes = self.chunk_sizes + self.pending_sizes
            del sizes[chunks_until(sizes, point.ids):]
            if self.state.position > point.ids:
                self.state.restore(self.restore_points.first)
            self.chunk_sizes, self.pending_sizes = [], sizes
            self._split_sizes()
        del self.ids[point.ids:], self.entries[point.entries:]
        self.image_features.clear()

    def _push(self, ids: Sequence[int]) -> None:
        self.push(ids, [len(chunk) for chunk in self.model.chunks(ids)])

    def _reset_state(self) -> None:
        """Have all read again that did not come from a state of this process."""
        first, tokens = self.restore_points.first, self.tokens_of(len(self.entries))
        count = sum(entry.chunk_count for entry in self.entries)
        open_turn = self.ids[tokens:], (self.chunk_sizes + self.pending_sizes)[count:]
        self.before_cut()
        self.state.restore(first)
        self.state.wipe()
        self._resets += 1
        if first.position < self.tokens_of(self.slid):  # there is no reading that would give it
            self.recompute()
            self.push(*open_turn)
        else:
            self.chunk_sizes, self.pending_sizes = [], self.chunk_sizes + self.pending_sizes
            self._split_sizes()
        self.restore_points.keep_first()

    def _split_sizes(self) -> None:
        """Separate the chunks that the state has seen from those to come."""
        sizes = self.chunk_sizes + self.pending_sizes
        place = chunks_until(sizes, self.state.position)
        self.chunk_sizes, self.pending_sizes = sizes[:place], sizes[place:]

    def _images(self) -> Iterator[PreparedImage]:
        """Return all images in the ids, in order."""
        for entry in list(self.entries):
            yield from entry.images
        yield from self.image_features.asked
