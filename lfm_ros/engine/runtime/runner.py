# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run tokens against a state through prepared bindings."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from lfm_ros.engine.runtime.batch import BatchDecoder
from lfm_ros.engine.runtime.bindings import bind_in
from lfm_ros.engine.runtime.bindings import LONG_RUN
from lfm_ros.engine.runtime.bindings import OpenGraph
from lfm_ros.engine.runtime.bindings import prepare
from lfm_ros.engine.runtime.bindings import PreparedRun
from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.capabilities import Capabilities
from lfm_ros.engine.runtime.embedder import Embedder
from lfm_ros.engine.runtime.ort_errors import BufferReuseError
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.state import Mark
from lfm_ros.engine.runtime.state import State
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

SHORT = 16  # tokens; runs up to that are prepared once, and can be rolled back


@dataclass(frozen=True)
class LastRun:
    """
    What is needed to roll back tokens of a run.

    :param start: the position where it began.
    :param history: for each convolution all columns of the run.
    """

    start: int
    history: Sequence[Buffer]


class Runner:
    """
    Advances states by tokens.

    Buffers are bound by address. In a decode step only the attention mask changes its shape, so
    nothing is allocated there: short runs are prepared once for each set of conv states.

    :param limit: the most tokens that a state may hold.
    :param embedder: of a graph that takes embeddings instead of ids.
    :param prefill: another graph of the same model, for runs of many tokens.
    :param runs: makes the runs.
    :param shrink: give memory back once a prompt was read, as it takes far more than a step.
    :param known: what the graph can do; None: the least, until :meth:`use` is called.
    :ivar max_run_tokens: the most tokens that can be read in one run.
    :ivar can_rollback: whether :meth:`rollback` works, and a row of a run of two or more tokens
        is the same whatever the other rows are.
    :ivar max_batch_size: how many states can be decoded in one run; 0: only one.
    """

    def __init__(self, graph: OpenGraph, limit: int, embedder: Embedder | None = None,
                 prefill: OpenGraph | None = None, runs: OrtRuns | None = None,
                 shrink: bool = False, known: Capabilities | None = None) -> None:
        self.signature = signature = graph.signature
        self.limit = limit
        self._graph = graph
        self._prefill = prefill
        self._embedder = embedder
        self._mask = np.ones((1, limit), signature.mask_dtype)
        self._places = np.arange(limit, dtype=signature.positions_dtype)[None]
        self._keep = np.ones((1,) * signature.keep_rank, signature.keep_dtype)
        self._ort_runs = runs or OrtRuns()
        self._shrink, self._grown = shrink, False
        self._history: dict[int, list[Buffer]] = {}
        self._last_start = 0
        self._prepared_runs: WeakKeyDictionary[State, _PreparedRuns] = WeakKeyDictionary()
        self._batch_decoder: BatchDecoder | None = None
        self._dummy: tuple[State, Mark] | None = None
        if known is None:
            vocabulary, head_pruned = self._try_logits()
            known = Capabilities(vocabulary, head_pruned, True, False, False, False)
        self.vocabulary, self.head_pruned = known.vocabulary, known.head_pruned
        self._row = np.empty((1, self.vocabulary), signature.logits_dtype)
        self._short = self._rows = self._row
        self.use(known)

    @property
    def capabilities(self) -> Capabilities:
        """What it uses of what the graph can do."""
        return Capabilities(self.vocabulary, self.head_pruned, self.max_run_tokens > 1,
                            self.shared, self.can_rollback, self._batch_decoder is not None)

    def use(self, known: Capabilities) -> None:
        """Use what was found out about the graph."""
        self.max_run_tokens = self.limit if known.reads_many else 1
        self.shared = known.shared
        self.can_rollback = known.can_rollback
        self._batch_decoder = None
        if self.signature.lanes and known.can_rollback and known.rows_independent:
            self._batch_decoder = BatchDecoder(self._graph, self.vocabulary)

    @property
    def max_batch_size(self) -> int:
        """How many states can be decoded in one run; 0: only one."""
        return self._batch_decoder.size if self._batch_decoder else 0

    def new_state(self, shared: bool | None = None) -> State:
        """Return a state at position 0."""
        return State(self.signature, self.shared if shared is None else shared, self.limit)

    def run(self, state: State, ids: Any, every: bool = False,
            cancel_token: CancelToken | None = None,
            features: np.ndarray | None = None) -> np.ndarray:
        """
        Read tokens into a state.

        :param state: advanced in place; as it was when the run fails or is cancelled.
        :param ids: token ids ``[S]``, S at least 1.
        :param every: give the logits after every token, where the graph can.
        :param features: float32 ``[k, hidden]`` for the k image tokens among the ids.
        :returns: float32 logits ``[rows, vocabulary]``, rows 1 or S; valid until the next run.
        :raises RunCancelled: when the token was set.
        """
        if cancel_token and cancel_token.is_set:
            raise RunCancelled
        count = len(ids)
        end = state.position + count
        if end > self.limit:
            raise LfmError(ErrorCode.CONTEXT_FULL, f'{end} tokens do not fit the context of '
                           f'{self.limit}: reset the mission or raise model.context_length')
        state.reserve(end)
        graph = self._graph
        if self._prefill and count >= LONG_RUN:
            graph = self._prefill
        rows = self._count_rows(graph.signature, count, every)
        run, logits = self._prepare(graph, state, count, rows)
        run.tokens[0] = self._embedder.rows(ids, features, cancel_token) if self._embedder else ids
        self._run(graph, run.binding, state.position, count, rows, cancel_token)
        self._last_start = state.position
        state.advance(count, run.grown, run.added)
        if not every:
            logits = logits[-1:]
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def rollback(self, state: State, kept: int, last: LastRun | None = None) -> None:
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
        """Return what :meth:`rollback` needs of the last run, to be kept while others run."""
        history = self._history.get(state.position - self._last_start, ())
        return LastRun(self._last_start, [columns.copy() for columns in history])

    def decode_batch(self, states: Sequence[State], ids: Sequence[int]) -> np.ndarray:
        """
        Read one token into each of 2 to ``max_batch_size`` states.

        :returns: float32 logits ``[states, vocabulary]``; valid until the next run.
        """
        decoder = self._batch_decoder
        assert decoder, 'max_batch_size is 0'
        tokens = self._embedder.rows(ids, None) if self._embedder else ids
        logits = self._ort_runs.run(lambda options: decoder.step(states, tokens, options),
                                    shrink=self._is_to_shrink(1))
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def replay_batched_step(self, state: State, token: int) -> np.ndarray:
        """
        Read one token as :meth:`decode_batch` did, with a dummy state in the other lane.

        Quantized kernels round a row of many in another way than a row alone.
        """
        if self._batch_decoder is None:  # another export, say: as near as possible
            return self.run(state, [token])
        if self._dummy is None:
            other = self.new_state()
            self.run(other, [0])
            self._dummy = other, other.mark()
        other, mark = self._dummy
        other.restore(mark)
        logits = self.decode_batch([state, other], [token, 0])[:1]
        self._batch_decoder.leave()
        return logits

    def release_batch(self) -> None:
        """Release the states of the last batch."""
        if self._batch_decoder:
            self._batch_decoder.leave()

    def _count_rows(self, sig: GraphSignature, count: int, every: bool) -> int:
        if self.head_pruned or (sig.keep and not every):
            return 1
        return count

    def _run(self, graph: OpenGraph, binding: Any, start: int, count: int, rows: int,
             cancel_token: CancelToken | None = None) -> None:
        sig = graph.signature
        if sig.keep:
            self._keep[...] = rows
        if sig.mask:
            bind_in(binding, sig.mask, self._mask, (1, start + count))
        if sig.positions:
            bind_in(binding, sig.positions, self._places[:, start:], (1, count))
        self._ort_runs.run(lambda options: graph.session.run_with_iobinding(binding, options),
                           cancel_token, shrink=self._is_to_shrink(count))

    def _is_to_shrink(self, count: int) -> bool:
        """Return whether this run is the first short one after a long one."""
        is_short = count <= SHORT
        shrink = self._grown and is_short
        self._grown = self._shrink and not is_short
        return shrink

    def _prepare(self, graph: OpenGraph, state: State, count: int, rows: int
                 ) -> tuple[PreparedRun, np.ndarray]:
        """Return a run and its logits; short ones of a shared state are reused."""
        if count > SHORT or not state.shared:
            if rows > len(self._rows):
                self._rows = np.empty((rows, self.vocabulary), self._row.dtype)
            logits = self._row if rows == 1 else self._rows[:rows]
            return prepare(graph, state, count, self._keep, logits), logits
        if rows > len(self._short):
            # Once and for all: prepared runs have its address.
            self._short = np.empty((SHORT, self.vocabulary), self._row.dtype)
        logits = self._row if rows == 1 else self._short[:rows]
        runs = self._prepared_runs.get(state)
        if runs is None or not runs.fit(state):
            runs = self._prepared_runs[state] = _PreparedRuns(state)
        key = state.front, count, rows
        if key not in runs.by_shape:
            history = self._columns(count) if count > 1 else ()
            runs.by_shape[key] = prepare(graph, state, count, self._keep, logits, history)
        return runs.by_shape[key], logits

    def _columns(self, count: int) -> list[Buffer]:
        """Return where the columns go from which conv states of a short run are cut."""
        if self.signature.history and count not in self._history:
            self._history[count] = [
                Buffer((*t.shape[:2], t.shape[2] + count), t.dtype) for t in self.signature.conv]
        return self._history.get(count, [])

    def _try_logits(self) -> tuple[int, bool]:
        try:
            return self._measure_logits()
        except BufferReuseError:
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
        run = prepare(self._graph, state, 2, self._keep, None)
        self._run(self._graph, run.binding, 0, 2, 2)
        logits = run.binding.get_outputs()[-1].numpy()
        return logits.shape[-1], logits.shape[-2] == 1


class _PreparedRuns:
    """The prepared runs of one state, by the conv state that they read, tokens and rows."""

    def __init__(self, state: State) -> None:
        self.by_shape: dict[tuple[int, int, int], PreparedRun] = {}
        self._buffers = list(state.key_value)

    def fit(self, state: State) -> bool:
        """Return whether the state still has the buffers to which they are bound."""
        return all(a is b for a, b in zip(self._buffers, state.key_value))
