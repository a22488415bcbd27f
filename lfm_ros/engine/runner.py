# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run tokens against a state through prepared bindings."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from lfm_ros.engine.abilities import Abilities
from lfm_ros.engine.bindings import bind_in
from lfm_ros.engine.bindings import Call
from lfm_ros.engine.bindings import LONG_CALL
from lfm_ros.engine.bindings import OpenGraph
from lfm_ros.engine.bindings import prepare
from lfm_ros.engine.buffers import Buffer
from lfm_ros.engine.company import Company
from lfm_ros.engine.embedder import Embedder
from lfm_ros.engine.graph import GraphSignature
from lfm_ros.engine.run_errors import SizesDisagree
from lfm_ros.engine.runs import Interrupt
from lfm_ros.engine.runs import Interrupted
from lfm_ros.engine.runs import Runs
from lfm_ros.engine.state import Mark
from lfm_ros.engine.state import State
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

SHORT = 16  # tokens; calls up to that are prepared once, and can be taken back


@dataclass(frozen=True)
class LastRun:
    """
    What is needed to take back tokens of a run.

    :param start: the position where it began.
    :param history: for each convolution all columns of the run.
    """

    start: int
    history: Sequence[Buffer]


class Runner:
    """
    Advances states by tokens.

    Buffers are bound by address. In a decode step only the attention mask changes its shape, so
    nothing is allocated there: short calls are prepared once for each set of windows.

    :param limit: the most tokens that a state may hold.
    :param embedder: of a graph that takes embeddings instead of ids.
    :param prefill: another graph of the same model, for calls of many tokens.
    :param runs: makes the calls.
    :param shrink: give memory back once a prompt was read, as it takes far more than a step.
    :param known: what the graph can do; None: the least, until :meth:`use` tells more.
    :ivar longest_call: the most tokens that can be read in one run.
    :ivar can_take_back: whether :meth:`take_back` works, and a row of a call of two or more tokens
        is the same whatever the other rows are.
    :ivar company_size: how many states can take a step together; 0: only one.
    """

    def __init__(self, graph: OpenGraph, limit: int, embedder: Embedder | None = None,
                 prefill: OpenGraph | None = None, runs: Runs | None = None,
                 shrink: bool = False, known: Abilities | None = None) -> None:
        self.signature = signature = graph.signature
        self.limit = limit
        self._graph = graph
        self._prefill = prefill
        self._embedder = embedder
        self._mask = np.ones((1, limit), signature.mask_dtype)
        self._places = np.arange(limit, dtype=signature.positions_dtype)[None]
        self._keep = np.ones((1,) * signature.keep_rank, signature.keep_dtype)
        self._runs = runs or Runs()
        self._shrink, self._grown = shrink, False
        self._history: dict[int, list[Buffer]] = {}
        self._last_start = 0
        self._calls: WeakKeyDictionary[State, _Calls] = WeakKeyDictionary()
        self._company: Company | None = None
        self._companion: tuple[State, Mark] | None = None
        if known is None:
            vocabulary, head_pruned = self._try_logits()
            known = Abilities(vocabulary, head_pruned, True, False, False, False)
        self.vocabulary, self.head_pruned = known.vocabulary, known.head_pruned
        self._row = np.empty((1, self.vocabulary), signature.logits_dtype)
        self._short = self._rows = self._row
        self.use(known)

    @property
    def abilities(self) -> Abilities:
        """Return what it uses of what the graph can do."""
        return Abilities(self.vocabulary, self.head_pruned, self.longest_call > 1, self.shared,
                         self.can_take_back, self._company is not None)

    def use(self, known: Abilities) -> None:
        """Use what was found out about the graph."""
        self.longest_call = self.limit if known.reads_many else 1
        self.shared = known.shared
        self.can_take_back = known.takes_back
        self._company = None
        if self.signature.slots and known.takes_back and known.keeps_company:
            self._company = Company(self._graph, self.vocabulary)

    @property
    def company_size(self) -> int:
        """Return how many states can take a step in one call; 0: only one."""
        return self._company.size if self._company else 0

    def new_state(self, shared: bool | None = None) -> State:
        """Return a state at position 0."""
        return State(self.signature, self.shared if shared is None else shared, self.limit)

    def run(self, state: State, ids: Any, every: bool = False,
            interrupt: Interrupt | None = None,
            features: np.ndarray | None = None) -> np.ndarray:
        """
        Read tokens into a state.

        :param state: advanced in place; as it was when the run fails or is interrupted.
        :param ids: token ids ``[S]``, S at least 1.
        :param every: give the logits after every token, where the graph can.
        :param features: float32 ``[k, hidden]`` for the k image tokens among the ids.
        :returns: float32 logits ``[rows, vocabulary]``, rows 1 or S; valid until the next run.
        :raises Interrupted: when the interrupt was set.
        """
        if interrupt and interrupt.is_set:
            raise Interrupted
        count = len(ids)
        end = state.position + count
        if end > self.limit:
            raise LfmError(ErrorCode.CONTEXT_FULL, f'{end} tokens do not fit the context of '
                           f'{self.limit}: reset the mission or raise model.context_length')
        state.reserve(end)
        graph = self._graph
        if self._prefill and count >= LONG_CALL:
            graph = self._prefill
        rows = self._count_rows(graph.signature, count, every)
        call, logits = self._prepare(graph, state, count, rows)
        call.tokens[0] = self._embedder.rows(ids, features, interrupt) if self._embedder else ids
        self._run(graph, call.binding, state.position, count, rows, interrupt)
        self._last_start = state.position
        state.advance(count, call.grown, call.added)
        if not every:
            logits = logits[-1:]
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def take_back(self, state: State, kept: int, last: LastRun | None = None) -> None:
        """
        Keep only the first tokens of the last run, which read 2 to SHORT into this state.

        It is then as after a run of these alone, where they are two or more.

        :param last: what :meth:`keep_last_run` gave, when other states were run since.
        """
        if last is None:
            history = self._history.get(state.position - self._last_start, ())
            last = LastRun(self._last_start, history)
        state.rollback(last.start, kept, last.history)

    def keep_last_run(self, state: State) -> LastRun:
        """Return what :meth:`take_back` needs of the last run, to be kept while others run."""
        history = self._history.get(state.position - self._last_start, ())
        return LastRun(self._last_start, [columns.copy() for columns in history])

    def step_together(self, states: Sequence[State], ids: Sequence[int]) -> np.ndarray:
        """
        Read one token into each of 2 to ``company_size`` states.

        :returns: float32 logits ``[states, vocabulary]``; valid until the next run.
        """
        company = self._company
        assert company, 'company_size is 0'
        tokens = self._embedder.rows(ids, None) if self._embedder else ids
        logits = self._runs.call(lambda options: company.step(states, tokens, options),
                                 shrink=self._is_to_shrink(1))
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def step_in_company(self, state: State, token: int) -> np.ndarray:
        """
        Read one token as :meth:`step_together` did, with a companion that means nothing.

        Quantized kernels round a row of many in another way than a row alone.
        """
        if self._company is None:  # another export, say: as near as it gets
            return self.run(state, [token])
        if self._companion is None:
            other = self.new_state()
            self.run(other, [0])
            self._companion = other, other.mark()
        other, mark = self._companion
        other.restore(mark)
        logits = self.step_together([state, other], [token, 0])[:1]
        self._company.leave()
        return logits

    def leave_company(self) -> None:
        """Let go of the states that took a step together."""
        if self._company:
            self._company.leave()

    def _count_rows(self, sig: GraphSignature, count: int, every: bool) -> int:
        if self.head_pruned or (sig.keep and not every):
            return 1
        return count

    def _run(self, graph: OpenGraph, binding: Any, start: int, count: int, rows: int,
             interrupt: Interrupt | None = None) -> None:
        sig = graph.signature
        if sig.keep:
            self._keep[...] = rows
        if sig.mask:
            bind_in(binding, sig.mask, self._mask, (1, start + count))
        if sig.positions:
            bind_in(binding, sig.positions, self._places[:, start:], (1, count))
        self._runs.call(lambda options: graph.session.run_with_iobinding(binding, options),
                        interrupt, shrink=self._is_to_shrink(count))

    def _is_to_shrink(self, count: int) -> bool:
        """Tell whether this call is the first short one after a long one."""
        is_short = count <= SHORT
        shrink = self._grown and is_short
        self._grown = self._shrink and not is_short
        return shrink

    def _prepare(self, graph: OpenGraph, state: State, count: int, rows: int
                 ) -> tuple[Call, np.ndarray]:
        """Return a call and its logits; with a state in place, short calls reuse theirs."""
        if count > SHORT or not state.shared:
            if rows > len(self._rows):
                self._rows = np.empty((rows, self.vocabulary), self._row.dtype)
            logits = self._row if rows == 1 else self._rows[:rows]
            return prepare(graph, state, count, self._keep, logits), logits
        if rows > len(self._short):
            # Once and for all: prepared calls have its address.
            self._short = np.empty((SHORT, self.vocabulary), self._row.dtype)
        logits = self._row if rows == 1 else self._short[:rows]
        calls = self._calls.get(state)
        if calls is None or not calls.fit(state):
            calls = self._calls[state] = _Calls(state)
        key = state.front, count, rows
        if key not in calls.by_shape:
            history = self._columns(count) if count > 1 else ()
            calls.by_shape[key] = prepare(graph, state, count, self._keep, logits, history)
        return calls.by_shape[key], logits

    def _columns(self, count: int) -> list[Buffer]:
        """Return where the columns go from which the windows of a short call are cut."""
        if self.signature.history and count not in self._history:
            self._history[count] = [
                Buffer((*t.shape[:2], t.shape[2] + count), t.dtype) for t in self.signature.conv]
        return self._history.get(count, [])

    def _try_logits(self) -> tuple[int, bool]:
        try:
            return self._measure_logits()
        except SizesDisagree:
            raise
        except LfmError as error:
            if error.code != ErrorCode.MODEL_RUN_FAILED:
                raise
            raise LfmError(ErrorCode.PROVIDER_UNAVAILABLE, 'the graph opens but does not run on '
                           f'{", ".join(self._graph.session.get_providers())}: export it for '
                           f'this provider ({error.message})') from error

    def _measure_logits(self) -> tuple[int, bool]:
        """Return the vocabulary, and whether only the last of several rows comes out."""
        state = self.new_state(shared=False)
        call = prepare(self._graph, state, 2, self._keep, None)
        self._run(self._graph, call.binding, 0, 2, 2)
        logits = call.binding.get_outputs()[-1].numpy()
        return logits.shape[-1], logits.shape[-2] == 1


class _Calls:
    """The prepared calls of one state, by which of its windows they read, tokens and rows."""

    def __init__(self, state: State) -> None:
        self.by_shape: dict[tuple[int, int, int], Call] = {}
        self._buffers = list(state.key_value)

    def fit(self, state: State) -> bool:
        """Tell whether the state still has the buffers to which they are bound."""
        return all(a is b for a, b in zip(self._buffers, state.key_value))
