# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a model: convolution windows, keys and values, and a position."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TYPE_CHECKING

from lfm_ros.engine.graph import GraphSignature
from lfm_ros.engine.graph import StateTensor
import numpy as np

if TYPE_CHECKING:
    from lfm_ros.engine.rotary import Rotary

BLOCK = 256  # tokens; the room for keys and values grows in these steps


@dataclass(frozen=True)
class Mark:
    """
    A place in a state to come back to.

    Keys and values can be cut, convolution windows cannot: a mark keeps a copy of them.
    """

    position: int
    windows: tuple[np.ndarray, ...]

    @property
    def nbytes(self) -> int:
        """Return the memory of the copies."""
        return sum(w.nbytes for w in self.windows)

    def moved(self, by: int) -> Mark:
        """Return the mark as it is after :meth:`State.slide` of so many rows before it."""
        return Mark(self.position - by, self.windows)


class State:
    """
    What a model knows after ``position`` tokens.

    Convolution windows are kept twice: a run reads the current set and writes the other, so a
    run that fails leaves the current one alone. Keys and values ``[1, heads, room, head_dim]``
    are appended in place where the graph allows it (``shared``); elsewhere every run writes new
    arrays of exactly ``position`` rows.

    :param limit: the most tokens that it will ever hold.
    """

    def __init__(self, signature: GraphSignature, shared: bool, limit: int) -> None:
        self.signature = signature
        self.shared = shared
        self.limit = limit
        self.position = 0
        self.turn = 0  # which set of windows is current
        self.windows = [[np.zeros(t.shape, t.dtype) for t in signature.conv] for _ in range(2)]
        self.key_value = [np.zeros(t.shape, t.dtype) for t in signature.key_value]
        self.prepared: dict[Any, Any] = {}  # bindings of the runner to these very buffers

    @property
    def nbytes(self) -> int:
        """Return the memory that the state takes now, its unused room included."""
        return (sum(w.nbytes for pair in self.windows for w in pair)
                + sum(a.nbytes for a in self.key_value))

    @property
    def capacity(self) -> int:
        """Return how many tokens the buffers have room for."""
        return self.key_value[0].shape[2] if self.key_value else self.limit

    def nbytes_at(self, tokens: int) -> int:
        """Return the memory that the state would take with room for that many tokens."""
        rows = sum(t.row_bytes for t in self.signature.key_value)
        windows = 2 * sum(t.row_bytes for t in self.signature.conv)
        if self.shared:
            return windows + rows * max(self._room(tokens), self.capacity)
        return windows + 2 * rows * tokens  # every run reads one set of arrays and writes another

    def reserve(self, tokens: int) -> None:
        """Make room for that many tokens in all."""
        if self.shared and tokens > self.capacity:
            self._resize(self._room(tokens))

    def _room(self, tokens: int) -> int:
        return min(self.limit, -(-tokens // BLOCK) * BLOCK)

    def _resize(self, room: int) -> None:
        self.prepared.clear()
        for index, old in enumerate(self.key_value):
            new = np.zeros((*old.shape[:2], room, old.shape[3]), old.dtype)
            new[:, :, :self.position] = old[:, :, :self.position]
            self.key_value[index] = new

    def mark(self) -> Mark:
        """Return the present place, to come back to with :meth:`restore`."""
        return Mark(self.position, tuple(w.copy() for w in self.windows[self.turn]))

    def restore(self, mark: Mark) -> None:
        """
        Go back to a mark.

        :raises ValueError: when the state was cut to before the mark since.
        """
        if mark.position > self.position:
            raise ValueError(f'the mark is at {mark.position}, the state at {self.position}')
        for current, saved in zip(self.windows[self.turn], mark.windows):
            current[...] = saved
        self._cut(mark.position)

    def wipe(self) -> None:
        """Overwrite the rows behind the position: what cannot be used may still be computed."""
        for rows in self.key_value:
            rows[:, :, self.position:] = 0

    def step_back(self, start: int, kept: int, history: Sequence[np.ndarray]) -> None:
        """
        Keep only the first tokens of the last run; keys and values must be shared.

        :param start: where the run began.
        :param history: for each convolution all columns ``[1, hidden, columns + S]`` of that run,
            of which any window is a slice.
        """
        if kept == 0:
            self.turn ^= 1  # the windows before the run are still there
        else:
            for window, columns in zip(self.windows[self.turn], history):
                window[...] = columns[:, :, kept:kept + window.shape[2]]
        self.position = start + kept

    def slide(self, start: int, count: int, rotary: Rotary) -> None:
        """
        Drop keys and values of the tokens ``[start, start + count)`` and close the gap.

        Later keys are turned back to their new positions; rows before ``start`` and the windows
        stay as they are. What later tokens had read from those that are dropped stays in them.

        :raises ValueError: when there are no such tokens; nothing has changed then.
        """
        end = self.position - count
        if not 0 <= start < start + count <= self.position:
            raise ValueError(f'no {count} tokens from {start} in {self.position}')
        for tensor, rows in zip(self.signature.key_value, self.key_value):
            for low in range(start, end, BLOCK):  # in pieces: there may be no memory for a copy
                high = min(low + BLOCK, end)
                later = rows[:, :, low + count:high + count]
                rows[:, :, low:high] = (rotary.turn(later, -count) if tensor.kind == 'key'
                                        else later)
        self._cut(end)

    def _cut(self, position: int) -> None:
        self.position = position
        if not self.shared:
            for index, rows in enumerate(self.key_value):
                self.key_value[index] = np.ascontiguousarray(rows[:, :, :position])

    def copy(self) -> State:
        """Return an independent state at the same place."""
        other = State(self.signature, self.shared, self.limit)
        other.load(self.arrays(), self.position)
        return other

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays by input name, cut to ``position``; views, not copies."""
        arrays = {t.name: w for t, w in zip(self.signature.conv, self.windows[self.turn])}
        return {**arrays, **self.rows(0)}

    def pretend(self, position: int) -> None:
        """Be at a position without having read anything, to try what a call there needs."""
        if self.shared:
            self.reserve(position)
        else:
            self._resize(position)
        self.position = position

    def rows(self, start: int) -> dict[str, np.ndarray]:
        """Return keys and values from a token on, by input name; views, not copies."""
        return {tensor.name: rows[:, :, start:self.position]
                for tensor, rows in zip(self.signature.key_value, self.key_value)}

    def current_windows(self) -> dict[str, np.ndarray]:
        """Return copies of the convolution windows, by input name."""
        return {tensor.name: window.copy()
                for tensor, window in zip(self.signature.conv, self.windows[self.turn])}

    def append(self, arrays: dict[str, np.ndarray], end: int) -> None:
        """
        Take rows that :meth:`rows` gave, up to a position, and windows if there are any.

        :raises ValueError: when names, shapes or types are not those of this model.
        """
        count = end - self.position
        if not 0 <= self.position < end <= self.limit:
            raise ValueError(f'{count} tokens cannot follow {self.position} of {self.limit}')
        self._check(arrays, count, [t for t in self.signature.states
                                    if t.grows or t.name in arrays])
        self.reserve(end)
        for index, tensor in enumerate(self.signature.key_value):
            if self.shared:
                self.key_value[index][:, :, self.position:end] = arrays[tensor.name]
            else:
                self.key_value[index] = np.concatenate(
                    [self.key_value[index], arrays[tensor.name]], axis=2)
        for tensor, window in zip(self.signature.conv, self.windows[self.turn]):
            if tensor.name in arrays:
                window[...] = arrays[tensor.name]
        self.position = end

    def load(self, arrays: dict[str, np.ndarray], position: int) -> None:
        """
        Take the place of a state that :meth:`arrays` gave.

        :raises ValueError: when names, shapes or types are not those of this model, or when it
            is longer than this one may become.
        """
        if not 0 <= position <= self.limit:
            raise ValueError(f'{position} tokens are more than the {self.limit} of this context')
        self._check(arrays, position, self.signature.states)
        self.prepared.clear()
        self.position = position
        for index, tensor in enumerate(self.signature.conv):
            self.windows[self.turn][index][...] = arrays[tensor.name]
        for index, tensor in enumerate(self.signature.key_value):
            rows = arrays[tensor.name]
            if self.shared:
                room = min(self.limit, -(-max(position, 1) // BLOCK) * BLOCK)
                buffer = np.zeros((*rows.shape[:2], room, rows.shape[3]), rows.dtype)
                buffer[:, :, :position] = rows
            else:
                buffer = np.array(rows)
            self.key_value[index] = buffer

    @staticmethod
    def _check(arrays: dict[str, np.ndarray], rows: int, tensors: Sequence[StateTensor]) -> None:
        """Refuse arrays that are not these parts of a state, with so many rows."""
        for tensor in tensors:
            array = arrays.get(tensor.name)
            shape = tuple(rows if tensor.grows and axis == 2 else n
                          for axis, n in enumerate(tensor.shape))
            if array is None or array.shape != shape or array.dtype != tensor.dtype:
                raise ValueError(f'{tensor.name} is not a {tensor.dtype} array {shape}')
