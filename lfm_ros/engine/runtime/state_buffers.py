# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The buffers of a state: how large they are, and where."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.signature import GraphSignature


class StateBuffers:
    """
    The buffers of a state, of which the rows of the first ``position`` tokens are valid.

    Conv states ``[1, hidden, columns]`` are kept twice: a run reads the current set and writes the
    next one, so a run that fails leaves the current one alone. Keys and values ``[1, heads,
    capacity, head_dim]`` are appended in place where the graph allows it (``shared``); elsewhere
    every run writes new buffers of exactly ``position`` rows.

    :param limit: the most tokens that it will ever hold.
    :param memory: where its buffers are.
    :ivar key_value: keys and values, in the order of the signature; replaced when they grow.
    :ivar placements: how often its buffers were replaced; who has bound them binds them anew.
    """

    def __init__(self, signature: GraphSignature, shared: bool, limit: int,
                 memory: HostMemory = HOST) -> None:
        self.signature = signature
        self.shared = shared
        self.limit = limit
        self.memory = memory
        self.key_value = [memory.buffer(t.shape, t.dtype) for t in signature.key_value]
        self.placements = 0
        self._position = 0
        self._capacity = 0  # rows of its own that it would take, while it is in a lane
        self._front = 0  # which of the two sets of conv states is current
        self._conv_state = self._new_conv_state()

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
        """
        The memory in bytes that the state takes now, its unused part included.

        In a lane it counts as much as it would take elsewhere.
        """
        rows = sum(t.row_bytes for t in self.signature.key_value)
        conv = 2 * sum(t.row_bytes for t in self.signature.conv)
        return conv + (rows * self.capacity if self.key_value else 0)

    @property
    def capacity(self) -> int:
        """How many tokens the buffers have memory for."""
        if capacity := self._capacity:  # another thread may ask while it changes
            return capacity
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
            if self._capacity:
                self._capacity = self._capacity_for(tokens)
            else:
                self._resize(self._capacity_for(tokens))

    def enter_lane(self, key_value: Sequence[Buffer],
                   conv_state: Sequence[Sequence[Buffer]]) -> None:
        """
        Move into buffers that belong to others and have rows for the whole limit.

        :param conv_state: both sets.
        """
        capacity = self.capacity
        self._move(key_value, conv_state)
        self._capacity = capacity

    def leave_lane(self) -> None:
        """Move into buffers of its own."""
        self._move([buffer.like(self._capacity) for buffer in self.key_value],
                   self._new_conv_state())
        self._capacity = 0

    def move_to(self, memory: HostMemory) -> None:
        """Move into other memory, or change nothing when there is not enough of it."""
        rows = self._position
        if self.shared:
            rows = self._capacity_for(max(self._position, 1), memory)
        key_value = [b.to(memory, rows, self._position) for b in self.key_value]
        conv_state = [[b.to(memory, b.rows, b.rows) for b in sets] for sets in self._conv_state]
        self.key_value, self._conv_state = key_value, conv_state
        self.memory, self._capacity = memory, 0
        self.placements += 1

    def _move(self, key_value: Sequence[Buffer], conv_state: Sequence[Sequence[Buffer]]) -> None:
        for buffer, old in zip(key_value, self.key_value):
            if self._position:
                buffer.copy_rows(0, old, 0, self._position)
        for sets, olds in zip(conv_state, self._conv_state):
            for conv, old in zip(sets, olds):
                conv.copy_rows(0, old, 0, old.rows)
        self.key_value = list(key_value)
        self.placements += 1
        self._conv_state = [list(sets) for sets in conv_state]

    def _new_conv_state(self) -> list[list[Buffer]]:
        """Return two sets of conv states of its own, all 0."""
        return [[self.memory.buffer(t.shape, t.dtype) for t in self.signature.conv]
                for _ in range(2)]

    def _capacity_for(self, tokens: int, memory: HostMemory | None = None) -> int:
        block = (memory or self.memory).block
        return min(self.limit, -(-tokens // block) * block)

    def _resize(self, rows: int) -> None:
        self.key_value = [buffer.resized(rows, min(rows, self._position))
                          for buffer in self.key_value]
        self.placements += 1
