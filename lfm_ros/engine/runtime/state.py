# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a model: conv states, keys and values, and a position."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.buffers import CosSin
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.signature import StateTensor
from lfm_ros.engine.runtime.state_buffers import StateBuffers
import numpy as np

SLIDE_ROWS = 256  # at a time: there may be no memory for a copy of all
# Gives the cosines and sines by which keys are rotated to so many positions later.
Rotation = Callable[[int], CosSin]


@dataclass(frozen=True)
class Mark:
    """
    A place in a state to come back to.

    Keys and values can be cut, conv states cannot: a mark keeps a copy of them.
    """

    position: int
    conv_state: tuple[Buffer, ...]

    @property
    def nbytes(self) -> int:
        """Return the memory of the copies."""
        return sum(buffer.nbytes for buffer in self.conv_state)

    def to(self, memory: HostMemory) -> Mark:
        """Return the mark in other memory."""
        return Mark(self.position, tuple(b.to(memory, b.rows, b.rows) for b in self.conv_state))

    def moved(self, by: int) -> Mark:
        """Return the mark as it is after :meth:`State.slide` of so many rows before it."""
        return Mark(self.position - by, self.conv_state)


class State(StateBuffers):
    """
    What a model knows after ``position`` tokens.

    Only :meth:`advance`, :meth:`rollback` and what goes back to a mark or takes rows from outside
    change the position.
    """

    def advance(self, count: int, grown: Sequence[Buffer] = (),
                added: Sequence[Buffer] = ()) -> None:
        """
        Take what a run has written: it read so many tokens.

        :param grown: keys and values that take the place of these, where they are not shared.
        :param added: keys and values ``[1, heads, count, head_dim]`` that are put behind these.
        """
        if grown:
            self.key_value = list(grown)
            self.placements += 1
        for buffer, rows in zip(self.key_value, added):
            buffer.copy_rows(self._position, rows, 0, count)
        self._front ^= 1
        self._position += count

    def use_other_conv_state(self) -> None:
        """Take the other set of conv states for the current one; it has been made equal."""
        self._front ^= 1

    def wipe(self) -> None:
        """Overwrite the rows behind the position: attention may still compute with them."""
        for buffer in self.key_value:
            buffer.wipe(self._position)

    def rollback(self, start: int, kept: int, history: Sequence[Buffer],
                 before: Sequence[Buffer] = ()) -> None:
        """
        Keep only the first tokens of the last run; keys and values must be shared.

        :param start: where the run began.
        :param history: for each convolution all columns ``[1, hidden, columns + S]`` of that run,
            of which any conv state is a slice.
        :param before: copies of the conv states before that run, where others ran since.
        """
        if kept == 0 and before:
            for conv, saved in zip(self.conv_state, before):
                conv.copy_rows(0, saved, 0, conv.rows)
        elif kept == 0:
            self._front ^= 1  # the conv states before the run are still there
        else:
            for conv, columns in zip(self.conv_state, history):
                conv.copy_rows(0, columns, kept, conv.rows)
        self._position = start + kept

    def mark(self) -> Mark:
        """Return the present place, to come back to with :meth:`restore`."""
        return Mark(self._position, tuple(conv.copy() for conv in self.conv_state))

    def restore(self, mark: Mark) -> None:
        """
        Go back to a mark.

        :raises ValueError: when the state was cut to before the mark since.
        """
        if mark.position > self._position:
            raise ValueError(f'the mark is at {mark.position}, the state at {self._position}')
        for conv, saved in zip(self.conv_state, mark.conv_state):
            conv.copy_rows(0, saved, 0, conv.rows)
        self._cut(mark.position)

    def slide(self, start: int, count: int, rotation: Rotation) -> None:
        """
        Drop keys and values of the tokens ``[start, start + count)`` and close the gap.

        Later keys are rotated back to their new positions; rows before ``start`` and conv
        states stay as they are. What later tokens had read from dropped ones stays in them.

        :param rotation: of keys, by positions.
        :raises ValueError: when there are no such tokens; nothing has changed then.
        """
        end = self._position - count
        if not 0 <= start < start + count <= self._position:
            raise ValueError(f'no {count} tokens from {start} in {self._position}')
        cos_sin = rotation(-count)
        for tensor, buffer in zip(self.signature.key_value, self.key_value):
            buffer.shift(start, end, count, SLIDE_ROWS,
                         cos_sin if tensor.kind == 'key' else None)
        self._cut(end)

    def set_position_unchecked(self, position: int) -> None:
        """Be at a position without having read anything, to probe what a run there needs."""
        if self.shared:
            self.reserve(position)
        else:
            self._resize(position)
        self._position = position

    def copy(self) -> State:
        """Return an independent state at the same place."""
        other = State(self.signature, self.shared, self.limit, self.memory)
        other._position = self._position
        rows = self._capacity_for(max(self._position, 1)) if self.shared else self._position
        other.key_value = [buffer.resized(rows, self._position) for buffer in self.key_value]
        for conv, own in zip(other.conv_state, self.conv_state):
            conv.copy_rows(0, own, 0, own.rows)
        return other

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state by input name, cut to ``position``; not to be written through."""
        conv = {t.name: c.read() for t, c in zip(self.signature.conv, self.conv_state)}
        return {**conv, **self.rows(0)}

    def rows(self, start: int) -> dict[str, np.ndarray]:
        """Return keys and values from a token on, by input name, likewise."""
        return {tensor.name: buffer.read(start, self._position)
                for tensor, buffer in zip(self.signature.key_value, self.key_value)}

    def copy_conv_state(self) -> dict[str, np.ndarray]:
        """Return copies of the current conv states, by input name."""
        return {tensor.name: conv.read().copy()
                for tensor, conv in zip(self.signature.conv, self.conv_state)}

    def append(self, arrays: Mapping[str, np.ndarray], end: int) -> None:
        """
        Take rows that :meth:`rows` gave, up to a position, and conv states if there are any.

        :raises ValueError: when names, shapes or types are not those of this model.
        """
        count = end - self._position
        if not 0 <= self._position < end <= self.limit:
            raise ValueError(f'{count} tokens cannot follow {self._position} of {self.limit}')
        self._check(arrays, count, [t for t in self.signature.states
                                    if t.grows or t.name in arrays])
        if self.shared:
            self.reserve(end)
        else:
            self._resize(end)
        for tensor, buffer in zip(self.signature.key_value, self.key_value):
            buffer.write(self._position, arrays[tensor.name])
        for tensor, conv in zip(self.signature.conv, self.conv_state):
            if tensor.name in arrays:
                conv.write(0, arrays[tensor.name])
        self._position = end

    def load(self, arrays: Mapping[str, np.ndarray], position: int) -> None:
        """
        Take the place of a state that :meth:`arrays` gave.

        :raises ValueError: when names, shapes or types are not those of this model, or when it
            is longer than this one may become.
        """
        if not 0 <= position <= self.limit:
            raise ValueError(f'{position} tokens are more than the {self.limit} of this context')
        self._check(arrays, position, self.signature.states)
        capacity = self._capacity_for(max(position, 1)) if self.shared else position
        key_value = [self.memory.buffer((*t.shape[:2], capacity, *t.shape[3:]), t.dtype)
                     for t in self.signature.key_value]
        for tensor, buffer in zip(self.signature.key_value, key_value):
            buffer.write(0, arrays[tensor.name])
        conv_state = self._new_conv_state() if self._capacity else self._conv_state
        self.key_value, self._conv_state, self._capacity = key_value, conv_state, 0
        for tensor, conv in zip(self.signature.conv, self.conv_state):
            conv.write(0, arrays[tensor.name])
        self._position = position
        self.placements += 1

    def _cut(self, position: int) -> None:
        self._position = position
        if not self.shared:
            self._resize(position)

    @staticmethod
    def _check(arrays: Mapping[str, np.ndarray], rows: int, tensors: Sequence[StateTensor]
               ) -> None:
        """Refuse arrays that are not these parts of a state, with so many rows."""
        for tensor in tensors:
            array = arrays.get(tensor.name)
            shape = tuple(rows if tensor.grows and axis == 2 else n
                          for axis, n in enumerate(tensor.shape))
            if array is None or array.shape != shape or array.dtype != tensor.dtype:
                raise ValueError(f'{tensor.name} is not a {tensor.dtype} array {shape}')
