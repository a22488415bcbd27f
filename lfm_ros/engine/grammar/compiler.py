# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Compile the grammars of answers for one tokenizer."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from collections.abc import Iterable
from importlib.util import find_spec
import json

from lfm_ros.engine.grammar.grammar import Grammar
from lfm_ros.engine.grammar.process import GrammarServer
from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import anonymous_bytes

MAX_KEPT = 8       # grammars, each with a process unless it cannot be used
MAX_COMPILING = 4  # at a time
MAX_MEMORY = 128 << 20  # bytes for compiling one; ordinary ones take less than 20 MB


class GrammarCompiler:
    """
    Compiles grammars for the tokenizer of a model, and keeps what it compiled.

    For one thread. Nothing waits here: :meth:`get` gives a grammar that may not be compiled yet.

    :param tokenizer: as JSON, in the format of the library ``tokenizers``.
    :param vocabulary: how many logits the model gives.
    :param end_ids: ids that end an answer.
    :raises LfmError: UNSUPPORTED, when the library is missing.
    """

    def __init__(self, tokenizer: str, vocabulary: int, end_ids: Iterable[int]) -> None:
        if find_spec('llguidance') is None:
            raise LfmError(ErrorCode.UNSUPPORTED, 'structured output needs the Python package '
                           'llguidance: run pip install llguidance')
        self._tokenizer = tokenizer.encode()
        self._settings = json.dumps({'vocabulary': vocabulary, 'end_ids': sorted(end_ids)})
        self._server = GrammarServer(self._settings, self._tokenizer)
        self._grammars: OrderedDict[GrammarSource, Grammar] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Return the memory in bytes that the processes of all grammars have or may take."""
        return sum(grammar.nbytes for grammar in self._grammars.values())

    @property
    def resident_bytes(self) -> int:
        """Return the memory in bytes that all its processes have together; from any thread."""
        return anonymous_bytes(self._server.pid) + \
            sum(grammar.nbytes for grammar in list(self._grammars.values()) if grammar.opening)

    def __contains__(self, source: GrammarSource) -> bool:
        """Return whether a grammar is compiled or compiling, and can be used."""
        return source in self._grammars and self._grammars[source].usable

    def get(self, source: GrammarSource, memory: int = MAX_MEMORY) -> Grammar:
        """
        Return a grammar; :meth:`advance` has it compiled.

        :param memory: bytes that compiling it may take.
        """
        if source not in self:
            self._grammars[source] = Grammar(source, memory)
        grammar = self._grammars[source]
        self._grammars.move_to_end(source)
        self._drop_unused(len(self._grammars) - MAX_KEPT, grammar)
        self.advance(grammar)
        return grammar

    def advance(self, grammar: Grammar) -> bool:
        """Compile a grammar when not too many are compiling; return whether it is done."""
        if grammar.waiting and sum(g.compiling for g in self._grammars.values()) < MAX_COMPILING:
            try:
                grammar.start(self._server)
            except OSError:  # the server was ended from outside, for want of memory say
                self._server.close()
                self._server = GrammarServer(self._settings, self._tokenizer)
                grammar.start(self._server)
        return grammar.poll()

    def keep(self, wanted: Collection[Grammar]) -> None:
        """Drop all grammars that are not compiled yet, except for these."""
        for source, grammar in list(self._grammars.items()):
            if not grammar.done and grammar not in wanted:
                self._grammars.pop(source).close()

    def shrink(self) -> bool:
        """Drop the oldest grammar that no answer follows; return false when there is none."""
        return self._drop_unused(1)

    def close(self) -> None:
        """End all processes."""
        for grammar in self._grammars.values():
            grammar.close()
        self._grammars.clear()
        self._server.close()

    def _drop_unused(self, count: int, but: Grammar | None = None) -> bool:
        unused = [source for source, grammar in self._grammars.items()
                  if grammar.done and not grammar.answers and grammar is not but]
        dropped = unused[:max(0, count)]
        for source in dropped:
            self._grammars.pop(source).close()
        return bool(dropped)
