# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run tokens against a state through prepared bindings."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfm_ros.engine.runtime.batch import BatchDecoder
from lfm_ros.engine.runtime.bindings import bind_in
from lfm_ros.engine.runtime.bindings import LONG_RUN
from lfm_ros.engine.runtime.bindings import OpenGraph
from lfm_ros.engine.runtime.bindings import prepare
from lfm_ros.engine.runtime.bindings import PreparedRun
from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.capabilities import Capabilities
from lfm_ros.engine.runtime.embedder import Embedder
from lfm_ros.engine.runtime.lanes import can_have_lanes
from lfm_ros.engine.runtime.lanes import Lanes
from lfm_ros.engine.runtime.ort_errors import BufferReuseError
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.engine.runtime.prepared_runs import PreparedRuns
from lfm_ros.engine.runtime.prepared_runs import SHORT
from lfm_ros.engine.runtime.state import Mark
from lfm_ros.engine.runtime.state import State
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np


@dataclass(frozen=True)
class LastRun:
    """
    What is needed to roll back tokens of a run.

    :param start: the position where it began.
    :param history: for each convolution all columns of the run.
    :param before: copies of the conv states before it; empty: the state still has them.
    """

    start: int
    history: Sequence[Buffer]
    before: Sequence[Buffer] = ()


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
    :param lanes: states that can be decoded in one run on a device.
    :ivar max_run_tokens: the most tokens that can be read in one run.
    :ivar memory: where its states are.
    :ivar prefill_chunk: tokens of a prompt that are best read in one run.
    :ivar can_rollback: whether :meth:`rollback` works, and a row of a run of two or more tokens
        is the same whatever the other rows are.
    :ivar max_batch_size: how many states can be decoded in one run; 0: only one.
    """

    def __init__(self, graph: OpenGraph, limit: int, embedder: Embedder | None = None,
                 prefill: OpenGraph | None = None, runs: OrtRuns | None = None,
                 shrink: bool = False, known: Capabilities | None = None, lanes: int = 1) -> None:
        self.signature = signature = graph.signature
        self.limit = limit
        self._graph, self.memory = graph, graph.memory
        self._prefill = prefill
        self._embedder = embedder
        self._mask = np.ones((1, limit), signature.mask_dtype)
        self._places = np.arange(limit, dtype=signature.positions_dtype)[None]
        self._keep = np.ones((1,) * signature.keep_rank, signature.keep_dtype)
        self._ort_runs = runs or OrtRuns()
        self._shrink, self._grown = shrink, False
        self._last_start = 0
        self._batch_decoder: BatchDecoder | None = None
        self._lane_count = lanes
        self._lanes: Lanes | None = None
        self._dummy: tuple[State, Mark] | None = None
        if known is None:
            vocabulary, head_pruned = self._try_logits()
            known = Capabilities(vocabulary, head_pruned, True, False, False, False)
        self.vocabulary, self.head_pruned = known.vocabulary, known.head_pruned
        self._prepared_runs = PreparedRuns(signature, graph.memory, self.vocabulary)
        self.use(known)

    @property
    def capabilities(self) -> Capabilities:
        """What it uses of what the graph can do."""
        return Capabilities(self.vocabulary, self.head_pruned, self.max_run_tokens > 1,
                            self.shared, self.can_rollback, self._rows_independent,
                            self._captured, self.prefill_chunk)

    def use(self, known: Capabilities) -> None:
        """Use what was found out about the graph."""
        self.max_run_tokens = self.limit if known.reads_many else 1
        self.shared = known.shared
        self.can_rollback = known.can_rollback
        self.prefill_chunk = known.prefill_chunk
        self._rows_independent = known.rows_independent
        self._captured = known.captured and self.can_have_lanes
        self._batch_decoder = None
        if self.signature.lanes and known.can_rollback and known.rows_independent and \
                not self._graph.memory.on_device:
            self._batch_decoder = BatchDecoder(self._graph, self.vocabulary)

    @property
    def lanes_nbytes(self) -> int:
        """The bytes that its lanes take, or will take from the first decode step on."""
        if not (self._captured or self.max_batch_size and not self._batch_decoder):
            return 0
        rows = sum(t.row_bytes for t in self.signature.key_value) * self.limit
        return self._lane_count * (rows + 2 * sum(t.row_bytes for t in self.signature.conv))

    @property
    def can_have_lanes(self) -> bool:
        """Whether states can be decoded in lanes."""
        return self.memory.on_device and self.shared and can_have_lanes(self.signature)

    @property
    def max_batch_size(self) -> int:
        """How many states can be decoded in one run; 0: only one."""
        if self._batch_decoder:
            return self._batch_decoder.size
        several = self.can_have_lanes and self._rows_independent
        return self._lane_count if several and self._lane_count > 1 else 0

    def new_state(self, shared: bool | None = None) -> State:
        """Return a state at position 0."""
        return State(self.signature, self.shared if shared is None else shared, self.limit,
                     self._graph.memory)

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
        if self._captured and count == 1 and state.shared:
            return self._step(state, ids, features, cancel_token)
        graph = self._graph
        if self._prefill and count >= LONG_RUN:
            graph = self._prefill
        rows = 1 if self.head_pruned or graph.signature.keep and not every else count
        run, logits = self._prepared_runs.get(graph, state, count, rows)
        run.tokens[0] = self._embedder.rows(ids, features, cancel_token) if self._embedder else ids
        self._run(graph, run, state.position, count, rows, cancel_token)
        self._last_start = state.position
        state.advance(count, run.grown, run.added)
        if not every:
            logits = logits[-1:]
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def _step(self, state: State, ids: Sequence[int], features: np.ndarray | None,
              cancel_token: CancelToken | None) -> np.ndarray:
        """Read one token in a lane."""
        token = self._embedder.rows(ids, features, cancel_token)[0] if self._embedder else ids[0]
        lanes, self._last_start = self._open_lanes(), state.position
        logits = self._ort_runs.run(lambda _: lanes.step(state, token), cancel_token)
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def close_unused_lanes(self) -> None:
        """Give up lanes that were only tried."""
        self._lanes = self._lanes if self._captured or self.max_batch_size else None

    def _open_lanes(self) -> Lanes:
        """Return the lanes; they take memory from the first decode step on."""
        if self._lanes is None:
            self._lanes = self._ort_runs.run(lambda _: Lanes(
                self._graph, self.limit, self._lane_count, self.vocabulary))
        return self._lanes

    def rollback(self, state: State, kept: int, last: LastRun | None = None) -> None:
        """
        Keep only the first tokens of the last run, which read 2 to SHORT into this state.

        It is then as after a run of these alone, where they are two or more.

        :param last: what :meth:`keep_last_run` gave, when other states were run since.
        """
        if last is None:
            history = self._prepared_runs.history(state.position - self._last_start)
            last = LastRun(self._last_start, history)
        state.rollback(last.start, kept, last.history, last.before)

    def keep_last_run(self, state: State) -> LastRun:
        """Return what :meth:`rollback` needs of the last run, to be kept while others run."""
        history = self._prepared_runs.history(state.position - self._last_start)
        before = [conv.copy() for conv in state.next_conv_state] if state.memory.on_device else ()
        return LastRun(self._last_start, [columns.copy() for columns in history], before)

    def decode_batch(self, states: Sequence[State], ids: Sequence[int]) -> np.ndarray:
        """
        Read one token into each of 2 to ``max_batch_size`` states.

        :returns: float32 logits ``[states, vocabulary]``; valid until the next run.
        """
        assert self.max_batch_size, 'this graph decodes one state at a time'
        tokens = self._embedder.rows(ids, None) if self._embedder else ids
        for state in states:
            state.reserve(state.position + 1)
        if decoder := self._batch_decoder:
            logits = self._ort_runs.run(lambda options: decoder.step(states, tokens, options),
                                        shrink=self._is_to_shrink(1))
        else:
            lanes, each = self._open_lanes(), list(tokens)
            logits = self._ort_runs.run(lambda _: lanes.step_batch(states, each))
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    def replay_batched_step(self, state: State, token: int) -> np.ndarray:
        """
        Read one token as :meth:`decode_batch` did, with a dummy state in the other lane.

        Quantized kernels round a row of many in another way than a row alone.
        """
        if not self.max_batch_size:  # another export, say: as near as possible
            return self.run(state, [token])
        if self._dummy is None:
            other = self.new_state()
            self.run(other, [0])
            self._dummy = other, other.mark()
        other = self._dummy[0]
        other.restore(self._dummy[1])
        logits = self.decode_batch([state, other], [token, 0])[:1]
        self.release_batch()
        return logits

    def release_batch(self) -> None:
        """Release the states of the last batch."""
        if self._batch_decoder:
            self._batch_decoder.leave()

    def _run(self, graph: OpenGraph, run: PreparedRun, start: int, count: int, rows: int,
             cancel_token: CancelToken | None = None) -> None:
        sig, binding = graph.signature, run.binding
        bind_in(binding, sig.ids, run.tokens)
        if sig.keep:
            self._keep[...] = rows
            bind_in(binding, sig.keep, self._keep)
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
        run = prepare(self._graph, state, 2, None)
        self._run(self._graph, run, 0, 2, 2)
        logits = run.binding.get_outputs()[-1].numpy()
        return logits.shape[-1], logits.shape[-2] == 1
