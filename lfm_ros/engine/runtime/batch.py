# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decode one token for each of several states in one run."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros.engine.runtime.bindings import bind_in
from lfm_ros.engine.runtime.bindings import bind_out
from lfm_ros.engine.runtime.bindings import OpenGraph
from lfm_ros.engine.runtime.signature import BATCH
from lfm_ros.engine.runtime.signature import LANE
from lfm_ros.engine.runtime.signature import PREFILL_ATTENTION
from lfm_ros.engine.runtime.state import State
import numpy as np


class BatchDecoder:
    """
    Reads one token into each of several states in one run.

    Weights are read once for all of them, which takes most of the time of a run for one state.
    Keys and values are read and written where each state has them; the small conv states are
    copied into one tensor and back.

    :ivar size: most states of a batch.
    """

    def __init__(self, graph: OpenGraph, vocabulary: int) -> None:
        self.size = graph.signature.lanes
        self._graph = graph
        self._vocabulary = vocabulary
        self._binding: _BatchBinding | None = None

    def step(self, states: Sequence[State], tokens: Any, options: Any) -> np.ndarray:
        """
        Read one token into each of 2 or more states; all advance, or none when it fails.

        :param tokens: ids ``[states]``, or embeddings ``[states, hidden]`` of a graph that takes
            these.
        :param options: of the run.
        :returns: logits ``[states, vocabulary]`` of the graph's type; valid until the next run.
        :raises Exception: what ONNX Runtime raises.
        """
        batch = self._binding
        if batch is None or not batch.fit(states):
            # The old one goes first: it holds the buffers of its states.
            self._binding = None
            batch = self._binding = _BatchBinding(self._graph, states, self._vocabulary)
        batch.tokens[:, 0] = tokens
        batch.gather_conv_state()
        self._graph.session.run_with_iobinding(batch.binding, options)
        batch.scatter_conv_state()
        return batch.logits[:, 0]

    def leave(self) -> None:
        """Release the states of the last step."""
        self._binding = None


class _BatchBinding:
    """The bound buffers of a batch, and the states in its lanes."""

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
            self._input(PREFILL_ATTENTION, np.array(False))
        self._input(BATCH, np.array(True))
        self._places = np.zeros((count, 1), sig.positions_dtype)
        if sig.positions:
            self._input(sig.positions, self._places)
        self._lengths = [self._input(f'{LANE}{place}.seqlens', np.zeros(1, np.int32))
                         for place in range(sig.lanes)]
        self._totals = [self._input(f'{LANE}{place}.total', np.zeros((), np.int32))
                        for place in range(sig.lanes)]
        self._now = [self._input(t.name, np.empty((count, *t.shape[1:]), t.dtype))
                     for t in sig.conv]
        self._after = [np.empty_like(conv) for conv in self._now]
        for tensor, conv in zip(sig.conv, self._after):
            bind_out(self.binding, tensor.output, conv)
        for place in range(sig.lanes):
            prefix = f'{LANE}{place}.' if place else ''
            if place > 1:
                self._input(f'{LANE}{place}.on', np.array(place < count))
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
        """Return whether these are the same states in the same order, with the same buffers."""
        if len(states) != len(self._states) or \
                any(a is not b for a, b in zip(states, self._states)):
            return False
        buffers = [buffer for state in states for buffer in state.key_value]
        return all(a is b for a, b in zip(buffers, self._buffers))

    def gather_conv_state(self) -> None:
        """Copy conv states, lengths and positions into the buffers of the batch."""
        for place, state in enumerate(self._states):
            self._lengths[place][0] = state.position
            self._totals[place][...] = state.position + 1
            self._places[place] = state.position
            for conv, own in zip(self._now, state.conv_state):
                conv[place] = own.read()[0]

    def scatter_conv_state(self) -> None:
        """Copy each new conv state into its state, and advance it."""
        for place, state in enumerate(self._states):
            for conv, own in zip(self._after, state.next_conv_state):
                own.write(0, conv[place:place + 1])
            state.advance(1)
