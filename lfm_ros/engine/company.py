# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Have several states take a step in one call of the model."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros.engine.bindings import bind_in
from lfm_ros.engine.bindings import bind_out
from lfm_ros.engine.bindings import OpenGraph
from lfm_ros.engine.graph import COMPANY
from lfm_ros.engine.graph import LONG
from lfm_ros.engine.graph import SLOT
from lfm_ros.engine.state import State
import numpy as np


class Company:
    """
    Steps of several states, each with one token.

    Weights are read once for all of them, which is what a step of one takes most of its time for.
    Every state keeps its own keys and values where they are; the small convolution windows are
    copied together and apart again.
    """

    def __init__(self, graph: OpenGraph, vocabulary: int) -> None:
        self.size = graph.signature.slots
        self._graph = graph
        self._vocabulary = vocabulary
        self._seats: _Seats | None = None

    def step(self, states: Sequence[State], tokens: Any, options: Any) -> np.ndarray:
        """
        Read one token into each of 2 or more states; all advance, or none when it fails.

        :param tokens: ids ``[states]``, or embeddings ``[states, hidden]`` of a graph that takes
            these.
        :param options: of the run.
        :returns: logits ``[states, vocabulary]`` of the graph's type; valid until the next run.
        :raises Exception: what ONNX Runtime raises.
        """
        for state in states:
            state.reserve(state.position + 1)
        seats = self._seats
        if seats is None or not seats.fit(states):
            # The old ones go first: they hold on to the buffers of their states.
            self._seats = None
            seats = self._seats = _Seats(self._graph, states, self._vocabulary)
        seats.tokens[:, 0] = tokens
        seats.take_windows()
        self._graph.session.run_with_iobinding(seats.binding, options)
        seats.give_windows()
        return seats.logits[:, 0]

    def leave(self) -> None:
        """Let go of the states of the last step."""
        self._seats = None


class _Seats:
    """The buffers of a call, bound, with the states that sit in it."""

    def __init__(self, graph: OpenGraph, states: Sequence[State], vocabulary: int) -> None:
        sig, count = graph.signature, len(states)
        self._states = list(states)
        self._buffers = [buffer for state in states for buffer in state.key_value]
        self._values: list[np.ndarray] = []
        self.binding = graph.session.io_binding()
        self.tokens = self._input(sig.ids, np.zeros(
            (count, 1, sig.hidden) if sig.hidden else (count, 1), sig.ids_dtype))
        self.logits = np.empty((count, 1, vocabulary), sig.logits_dtype)
        bind_out(self.binding, sig.logits, self.logits)
        if sig.mask:
            self._input(sig.mask, np.ones((count, 1), sig.mask_dtype))
        if sig.keep:
            self._input(sig.keep, np.ones((1,) * sig.keep_rank, sig.keep_dtype))
        if sig.long:
            self._input(LONG, np.array(False))
        self._input(COMPANY, np.array(True))
        self._places = np.zeros((count, 1), sig.positions_dtype)
        if sig.positions:
            self._input(sig.positions, self._places)
        self._lengths = [self._input(f'{SLOT}{place}.seqlens', np.zeros(1, np.int32))
                         for place in range(sig.slots)]
        self._totals = [self._input(f'{SLOT}{place}.total', np.zeros((), np.int32))
                        for place in range(sig.slots)]
        self._now = [self._input(t.name, np.empty((count, *t.shape[1:]), t.dtype))
                     for t in sig.conv]
        self._after = [np.empty_like(windows) for windows in self._now]
        for tensor, windows in zip(sig.conv, self._after):
            bind_out(self.binding, tensor.output, windows)
        for place in range(sig.slots):
            prefix = f'{SLOT}{place}.' if place else ''
            if place > 1:
                self._input(f'{SLOT}{place}.on', np.array(place < count))
            for index, tensor in enumerate(sig.key_value):
                if place < count:
                    buffer = states[place].key_value[index]
                    buffer.bind_input(self.binding, prefix + tensor.name)
                    buffer.bind_output(self.binding, prefix + tensor.output)
                else:
                    self._input(prefix + tensor.name, np.zeros(tensor.shape, tensor.dtype))

    def _input(self, name: str, value: np.ndarray) -> np.ndarray:
        bind_in(self.binding, name, value)
        self._values.append(value)
        return value

    def fit(self, states: Sequence[State]) -> bool:
        """Tell whether these are the same states in the same order, with the same buffers."""
        if len(states) != len(self._states) or \
                any(a is not b for a, b in zip(states, self._states)):
            return False
        buffers = [buffer for state in states for buffer in state.key_value]
        return all(a is b for a, b in zip(buffers, self._buffers))

    def take_windows(self) -> None:
        """Copy what the call reads of each state."""
        for place, state in enumerate(self._states):
            self._lengths[place][0] = state.position
            self._totals[place][...] = state.position + 1
            self._places[place] = state.position
            for windows, own in zip(self._now, state.conv_state):
                windows[place] = own.read()[0]

    def give_windows(self) -> None:
        """Copy what the call wrote into each state, and advance it."""
        for place, state in enumerate(self._states):
            for windows, own in zip(self._after, state.next_conv_state):
                own.write(0, windows[place:place + 1])
            state.advance(1)
