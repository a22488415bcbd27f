# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Lanes: places on a device in which states are decoded at addresses that never change.

A GPU replays a run that it has captured several times faster than it is called operator by
operator, but only with the same shapes and addresses, and what was captured can never be freed.
So a state that decodes moves into a lane and stays there until another one needs the lane. The
attention mask has its full length in every run, with zeros behind the position.

All lanes together are one tensor ``[lanes, heads, rows, head_dim]`` for each layer: a batch is one
run of one token per lane. Rows of lanes that take no part are computed for nothing: their keys and
values go behind the position, where nothing is valid, and their conv states into the set that the
next run overwrites.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any
import weakref

from lfm_ros.engine.runtime.bindings import OpenGraph
from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.ort_runs import run_options
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.state import State
import numpy as np


def can_have_lanes(signature: GraphSignature) -> bool:
    """Return whether states of such a graph can be decoded in lanes, as far as it declares it."""
    shapes = {(t.shape, t.dtype) for t in signature.conv}
    return bool(signature.mask and signature.key_value) and len(shapes) < 2 and \
        not (signature.lanes or signature.long)


class Lanes:
    """
    The lanes of a graph.

    :param limit: the most tokens of a state.
    :param count: lanes.
    :param vocabulary: logits of one row.
    :ivar size: states that can be decoded in one run.
    """

    def __init__(self, graph: OpenGraph, limit: int, count: int, vocabulary: int) -> None:
        self.size = count
        self._graph = graph
        sig, memory = graph.signature, graph.memory
        self._rows = limit
        self._key_value = [memory.buffer((count, t.shape[1], limit, t.shape[3]), t.dtype)
                           for t in sig.key_value]
        self._conv = [memory.buffer((len(sig.conv), count, *sig.conv[0].shape[1:]),
                                    sig.conv[0].dtype) for _ in range(2)] if sig.conv else []
        self._states: list[weakref.ref[State] | None] = [None] * count
        self._placements = [0] * count
        self._last_used = [0] * count
        self._clock = 0
        self._single = _Inputs(graph, 1, limit, vocabulary)
        self._batch = _Inputs(graph, count, limit, vocabulary)
        self._runs: dict[tuple[int, int], _FixedRun] = {}  # by first lane and set; -1: a batch

    def step(self, state: State, token: Any) -> np.ndarray:
        """
        Read one token into one state.

        :param token: id, or embedding ``[hidden]`` of a graph that takes these.
        :returns: logits ``[1, vocabulary]`` of the graph's type; valid until the next run.
        :raises Exception: what ONNX Runtime raises; nothing has changed then.
        """
        lane = self._enter(state, ())
        inputs, front = self._single, state.front
        inputs.set([state.position], [token])
        if (lane, front) not in self._runs:
            number = 1 + 2 * lane + front
            self._runs[lane, front] = _FixedRun(
                self._graph, inputs, number, [b.part(lane) for b in self._key_value],
                self._conv_parts(front, lane), self._conv_parts(1 - front, lane))
        logits = self._runs[lane, front].run()
        state.advance(1)
        return logits

    def step_batch(self, states: Sequence[State], tokens: Sequence[Any]) -> np.ndarray:
        """
        Read one token into each of several states; all advance, or none when it fails.

        :returns: logits ``[states, vocabulary]`` likewise.
        """
        places = [self._enter(state, states) for state in states]
        for lane in range(self.size):  # one that is full has no row to be computed for nothing
            if (other := self._resident(lane)) and other.position == self._rows:
                other.leave_lane()
        self._align()
        residents = [self._resident(lane) for lane in range(self.size)]
        positions = [state.position if state else 0 for state in residents]
        rows: list[Any] = [0] * self.size
        for lane, token in zip(places, tokens):
            rows[lane] = token
        self._batch.set(positions, rows)
        if (-1, 0) not in self._runs:
            self._runs[-1, 0] = _FixedRun(
                self._graph, self._batch, 1 + 2 * self.size, self._key_value,
                self._conv_parts(0), self._conv_parts(1))
        logits = self._runs[-1, 0].run()
        self._take(places)
        for state in states:
            state.advance(1)
            state.use_other_conv_state()  # it was copied into the set that batches read
        return logits[places]

    def _align(self) -> None:
        """Have all states in lanes in the set of conv states that batches read."""
        residents = {lane: self._resident(lane) for lane in range(self.size)}
        others = {lane: state for lane, state in residents.items() if state and state.front}
        if others:
            self._take(list(others))
            for state in others.values():
                state.use_other_conv_state()

    def _take(self, lanes: Sequence[int]) -> None:
        """Copy conv states of these lanes from the second set into the first."""
        if self._conv:
            self._conv[0].copy_parts(self._conv[1], lanes)

    def _enter(self, state: State, others: Sequence[State]) -> int:
        """Return the lane of a state; it takes one of a state that is not among these."""
        self._clock += 1
        lanes = range(self.size)
        lane = next((i for i in lanes if self._resident(i) is state), -1)
        if lane < 0:
            kept = {id(other) for other in others}
            free = [i for i in lanes if id(self._resident(i)) not in kept]
            lane = min(free, key=lambda i: (self._resident(i) is not None, self._last_used[i]))
            if resident := self._resident(lane):
                resident.leave_lane()
            state.enter_lane([b.part(lane) for b in self._key_value],
                             [self._conv_parts(0, lane), self._conv_parts(1, lane)])
            self._states[lane] = weakref.ref(state)
            self._placements[lane] = state.placements
        self._last_used[lane] = self._clock
        return lane

    def _resident(self, lane: int) -> State | None:
        """Return the state in a lane; None: it is empty."""
        known = self._states[lane]
        state = known() if known else None
        return state if state and state.placements == self._placements[lane] else None

    def _conv_parts(self, front: int, lane: int | None = None) -> list[Buffer]:
        """Return the conv states of a set, one per layer: of one lane, or of all."""
        if not self._conv:
            return []
        layers = [self._conv[front].part(layer) for layer in range(self._conv[front].shape[0])]
        return [layer.without_first_axis() if lane is None else
                layer.without_first_axis().part(lane) for layer in layers]


class _Inputs:
    """The inputs of runs of one token for each of several states, and their logits."""

    def __init__(self, graph: OpenGraph, count: int, rows: int, vocabulary: int) -> None:
        sig, memory = graph.signature, graph.memory
        self._tokens = np.zeros((count, 1, sig.hidden) if sig.hidden else (count, 1),
                                sig.ids_dtype)
        self._mask = np.zeros((count, rows), sig.mask_dtype)
        self._lengths = np.zeros((count, 1), sig.positions_dtype)
        values = {sig.ids: self._tokens, sig.mask: self._mask, sig.positions: self._lengths}
        self._changing = [(memory.buffer(array.shape, array.dtype), array)
                          for name, array in values.items() if name]
        self.buffers = dict(zip([name for name in values if name],
                                [buffer for buffer, _ in self._changing]))
        if sig.keep:
            self.buffers[sig.keep] = memory.buffer((1,) * sig.keep_rank, sig.keep_dtype)
            self.buffers[sig.keep].set(np.ones((1,) * sig.keep_rank, sig.keep_dtype))
        self.logits = memory.buffer((count, 1, vocabulary), sig.logits_dtype)

    def set(self, positions: Sequence[int], tokens: Sequence[Any]) -> None:
        """Have the next run read these tokens, each at its position."""
        for row, (position, token) in enumerate(zip(positions, tokens)):
            self._tokens[row, 0] = token
            self._lengths[row, 0] = position
            self._mask[row, :position + 1] = 1
            self._mask[row, position + 1:] = 0
        for buffer, array in self._changing:
            buffer.set(array)


class _FixedRun:
    """A run whose shapes and addresses never change."""

    def __init__(self, graph: OpenGraph, inputs: _Inputs, number: int,
                 key_value: Sequence[Buffer], now: Sequence[Buffer], after: Sequence[Buffer]
                 ) -> None:
        sig = graph.signature
        self._session, self._inputs = graph.session, inputs
        self._buffers = [*key_value, *now, *after]  # the binding has their addresses only
        self._options = run_options(number if graph.captures else None)
        self._binding = binding = graph.session.io_binding()
        for name, buffer in inputs.buffers.items():
            buffer.bind_input(binding, name)
        for tensor, buffer in zip(sig.key_value, key_value):
            buffer.bind_input(binding, tensor.name)
            buffer.bind_output(binding, tensor.output)
        for tensor, source, target in zip(sig.conv, now, after):
            source.bind_input(binding, tensor.name)
            target.bind_output(binding, tensor.output)
        inputs.logits.bind_output(binding, sig.logits)

    def run(self) -> np.ndarray:
        """Make the run and return its logits ``[states, vocabulary]``."""
        self._session.run_with_iobinding(self._binding, self._options)
        return self._inputs.logits.numpy()[:, 0]
