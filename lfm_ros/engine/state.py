# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a model: convolution windows, keys and values, and a position."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lfm_ros.engine.graph import GraphSignature
import numpy as np

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

    def reserve(self, tokens: int) -> None:
        """Make room for that many tokens in all."""
        if not self.shared or tokens <= self.capacity:
            return
        room = max(tokens, self.capacity * 5 // 4)
        self._resize(min(self.limit, -(-room // BLOCK) * BLOCK))

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
        self.position = mark.position
        if not self.shared:
            self.key_value = [np.ascontiguousarray(a[:, :, :self.position])
                              for a in self.key_value]

    def copy(self) -> State:
        """Return an independent state at the same place."""
        other = State(self.signature, self.shared, self.limit)
        other.load(self.arrays(), self.position)
        return other

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays by input name, cut to ``position``; views, not copies."""
        arrays = {t.name: w for t, w in zip(self.signature.conv, self.windows[self.turn])}
        for tensor, array in zip(self.signature.key_value, self.key_value):
            arrays[tensor.name] = array[:, :, :self.position]
        return arrays

    def load(self, arrays: dict[str, np.ndarray], position: int) -> None:
        """
        Take the place of a state that :meth:`arrays` gave.

        :raises ValueError: when names, shapes or types are not those of this model, or when it
            is longer than this one may become.
        """
        if not 0 <= position <= self.limit:
            raise ValueError(f'{position} tokens are more than the {self.limit} of this context')
        for tensor in self.signature.states:
            array = arrays.get(tensor.name)
            shape = tuple(position if tensor.grows and axis == 2 else n
                          for axis, n in enumerate(tensor.shape))
            if array is None or array.shape != shape or array.dtype != tensor.dtype:
                raise ValueError(f'{tensor.name} is not a {tensor.dtype} array {shape}')
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
