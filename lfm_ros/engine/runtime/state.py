# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a model: conv states, keys and values, and a position."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.signature import StateTensor
import numpy as np

BLOCK = 256  # tokens; the memory for keys and values grows in these steps
Rotate = Callable[[np.ndarray, int], np.ndarray]


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

    def moved(self, by: int) -> Mark:
        """Return the mark as it is after :meth:`State.slide` of so many rows before it."""
        return Mark(self.position - by, self.conv_state)


class State:
    """
    What a model knows after ``position`` tokens.

    Conv states ``[1, hidden, columns]`` are kept twice: a run reads the current set and writes the
    next one, so a run that fails leaves the current one alone. Keys and values ``[1, heads,
    capacity, head_dim]`` are appended in place where the graph allows it (``shared``); elsewhere
    every run writes new buffers of exactly ``position`` rows.

    Only :meth:`advance`, :meth:`rollback` and what goes back to a mark or takes rows from outside
    change the position.

    :param limit: the most tokens that it will ever hold.
    :ivar key_value: keys and values, in the order of the signature; replaced when they grow.
    """

    def __init__(self, signature: GraphSignature, shared: bool, limit: int) -> None:
        self.signature = signature
        self.shared = shared
        self.limit = limit
        self.key_value = [Buffer(t.shape, t.dtype) for t in signature.key_value]
        self._position = 0
        self._front = 0  # which of the two sets of conv states is current
        self._conv_state = [[Buffer(t.shape, t.dtype) for t in signature.conv] for _ in range(2)]

    @property
    def position(self) -> int:
        """How many tokens were read."""
        return self._position

    @property
    def front(self) -> int:
        """Which set of conv states is current, 0 or 1."""
        return self._front

    @property
    def conv_state(self) -> list[Buffer]:
        """The conv states that the next run reads, one per convolution."""
        return self._conv_state[self._front]

    @property
    def next_conv_state(self) -> list[Buffer]:
        """The conv states that the next run writes."""
        return self._conv_state[self._front ^ 1]

    @property
    def nbytes(self) -> int:
        """The memory in bytes that the state takes now, its unused part included."""
        return sum(buffer.nbytes for buffer in (*self._conv_state[0], *self._conv_state[1],
                                                *self.key_value))

    @property
    def capacity(self) -> int:
        """How many tokens the buffers have memory for."""
        return self.key_value[0].rows if self.key_value else self.limit

    def nbytes_at(self, tokens: int) -> int:
        """Return the memory in bytes that the state would take with that many tokens."""
        rows = sum(t.row_bytes for t in self.signature.key_value)
        conv = 2 * sum(t.row_bytes for t in self.signature.conv)
        if self.shared:
            return conv + rows * max(self._capacity_for(tokens), self.capacity)
        return conv + 2 * rows * tokens  # every run reads one set of buffers and writes another

    def reserve(self, tokens: int) -> None:
        """Have memory for that many tokens in all."""
        if self.shared and tokens > self.capacity:
            self._resize(self._capacity_for(tokens))

    def advance(self, count: int, grown: Sequence[Buffer] = (),
                added: Sequence[Buffer] = ()) -> None:
        """
        Take what a run has written: it read so many tokens.

        :param grown: keys and values that take the place of these, where they are not shared.
        :param added: keys and values ``[1, heads, count, head_dim]`` that are put behind these.
        """
        if grown:
            self.key_value = list(grown)
        for buffer, rows in zip(self.key_value, added):
            buffer.copy_rows(self._position, rows, 0, count)
        self._front ^= 1
        self._position += count

    def wipe(self) -> None:
        """Overwrite the rows behind the position: attention may still compute with them."""
        for buffer in self.key_value:
            buffer.wipe(self._position)

    def rollback(self, start: int, kept: int, history: Sequence[Buffer]) -> None:
        """
        Keep only the first tokens of the last run; keys and values must be shared.

        :param start: where the run began.
        :param history: for each convolution all columns ``[1, hidden, columns + S]`` of that run,
            of which any conv state is a slice.
        """
        if kept == 0:
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

    def slide(self, start: int, count: int, rotate: Rotate) -> None:
        """
        Drop keys and values of the tokens ``[start, start + count)`` and close the gap.

        Later keys are rotated back to their new positions; rows before ``start`` and conv
        states stay as they are. What later tokens had read from dropped ones stays in them.

        :param rotate: returns keys ``[1, heads, rows, head_dim]`` as they would be so many
            positions later.
        :raises ValueError: when there are no such tokens; nothing has changed then.
        """
        end = self._position - count
        if not 0 <= start < start + count <= self._position:
            raise ValueError(f'no {count} tokens from {start} in {self._position}')
        for tensor, buffer in zip(self.signature.key_value, self.key_value):
            buffer.shift(start, end, count, BLOCK, (lambda keys: rotate(keys, -count))
                         if tensor.kind == 'key' else None)
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
        other = State(self.signature, self.shared, self.limit)
        other.load(self.arrays(), self._position)
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
        self._position = position
        capacity = self._capacity_for(max(position, 1)) if self.shared else position
        for tensor, conv in zip(self.signature.conv, self.conv_state):
            conv.write(0, arrays[tensor.name])
        for index, tensor in enumerate(self.signature.key_value):
            self.key_value[index] = Buffer(
                (*tensor.shape[:2], capacity, *tensor.shape[3:]), tensor.dtype)
            self.key_value[index].write(0, arrays[tensor.name])

    def _capacity_for(self, tokens: int) -> int:
        return min(self.limit, -(-tokens // BLOCK) * BLOCK)

    def _resize(self, rows: int) -> None:
        for index, buffer in enumerate(self.key_value):
            self.key_value[index] = buffer.resized(rows, min(rows, self._position))

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
