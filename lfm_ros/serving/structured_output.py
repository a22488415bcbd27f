# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The grammars that answers must match: compiled while requests wait, within the memory."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.engine.grammar.compiler import MAX_MEMORY
from lfm_ros.engine.grammar.grammar import Grammar
from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.model import Model
from lfm_ros.process import return_freed_memory
from lfm_ros.serving.memory import MissionMemory
from lfm_ros.serving.memory_budget import GRAMMAR_BYTES
from lfm_ros.serving.memory_budget import grammar_engine_bytes


class StructuredOutput:
    """Has grammars compiled for the requests to one model."""

    def __init__(self, model: Model, memory: MissionMemory) -> None:
        self._model = model
        self._memory = memory

    def load(self) -> None:
        """
        Start the process that compiles grammars, if it is not there; from then on it takes memory.

        :raises LfmError: UNSUPPORTED, OVER_BUDGET.
        """
        if self._model.grammar_engine_loaded:
            return
        needed = grammar_engine_bytes(self._model)
        self._memory.free(needed)
        self._model.grammars
        return_freed_memory()
        if self._memory.limit:
            self._memory.limit -= needed

    def grammar(self, source: GrammarSource) -> Grammar:
        """
        Return a grammar, which may still have to be compiled; missions make room for that.

        :raises LfmError: UNSUPPORTED, OVER_BUDGET.
        """
        self.load()
        grammars, memory = self._model.grammars, MAX_MEMORY
        if self._memory.limit and source not in grammars:
            self._memory.free(GRAMMAR_BYTES)
            memory = min(memory, self._memory.limit - self._memory.nbytes)
        return grammars.get(source, memory)

    def compile(self, wanted: Sequence[Grammar]) -> None:
        """Go on with the grammars that requests wait for, give up those that none waits for."""
        if self._model.grammar_engine_loaded:
            self._model.grammars.keep(wanted)
            for grammar in wanted:
                self._model.grammars.advance(grammar)
