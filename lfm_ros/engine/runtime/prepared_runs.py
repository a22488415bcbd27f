# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the runs of a few tokens prepared, for each state with the buffers that it has."""
from __future__ import annotations

from weakref import WeakKeyDictionary

from lfm_ros.engine.runtime.bindings import OpenGraph
from lfm_ros.engine.runtime.bindings import prepare
from lfm_ros.engine.runtime.bindings import PreparedRun
from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.state import State
import numpy as np

SHORT = 16  # tokens; runs up to that are prepared once, and can be rolled back


class PreparedRuns:
    """
    Prepares runs, and keeps those of a few tokens.

    :param vocabulary: logits of one row.
    """

    def __init__(self, signature: GraphSignature, memory: HostMemory, vocabulary: int) -> None:
        self._signature = signature
        self._memory = memory
        self._vocabulary = vocabulary
        self._row = np.empty((1, vocabulary), signature.logits_dtype)
        self._short = self._rows = self._row
        self._history: dict[int, list[Buffer]] = {}
        self._of_states: WeakKeyDictionary[State, _RunsOfState] = WeakKeyDictionary()

    def get(self, graph: OpenGraph, state: State, count: int, rows: int
            ) -> tuple[PreparedRun, np.ndarray]:
        """
        Return a run of so many tokens and where its logits ``[rows, vocabulary]`` go.

        Short ones of a shared state are reused.
        """
        if count > SHORT or not state.shared:
            if rows > len(self._rows):
                self._rows = np.empty((rows, self._vocabulary), self._row.dtype)
            logits = self._row if rows == 1 else self._rows[:rows]
            return prepare(graph, state, count, logits), logits
        if rows > len(self._short):
            # Once and for all: prepared runs have its address.
            self._short = np.empty((SHORT, self._vocabulary), self._row.dtype)
        logits = self._row if rows == 1 else self._short[:rows]
        runs = self._of_states.get(state)
        if runs is None or runs.placements != state.placements:
            runs = self._of_states[state] = _RunsOfState(state)
        key = state.front, count, rows
        if key not in runs.by_shape:
            history = self._make_history(count) if count > 1 else ()
            runs.by_shape[key] = prepare(graph, state, count, logits, history)
        return runs.by_shape[key], logits

    def history(self, count: int) -> list[Buffer]:
        """Return the columns of the last run of so many tokens, one buffer per convolution."""
        return self._history.get(count, [])

    def _make_history(self, count: int) -> list[Buffer]:
        """Return where the columns go from which conv states of a short run are cut."""
        if self._signature.history and count not in self._history:
            self._history[count] = [
                self._memory.buffer((*t.shape[:2], t.shape[2] + count), t.dtype)
                for t in self._signature.conv]
        return self.history(count)


class _RunsOfState:
    """The prepared runs of one state, by the conv state that they read, tokens and rows."""

    def __init__(self, state: State) -> None:
        self.by_shape: dict[tuple[int, int, int], PreparedRun] = {}
        self.placements = state.placements  # they are bound to the buffers that it has then
