# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run tokens against a state through prepared bindings."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lfm_ros.engine.embedder import Embedder
from lfm_ros.engine.graph import GraphSignature
from lfm_ros.engine.state import State
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import onnxruntime

_FATAL_ONLY = 4


class SizesDisagree(LfmError):
    """The graph calls sizes equal that differ; it may not reuse memory within a run."""


class Interrupted(Exception):
    """A run was ended from outside, in the middle of a graph or before it began."""


class Interrupt:
    """Ends what the model does for one request, from any thread."""

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = _FATAL_ONLY
        self.is_set = False

    def set(self) -> None:
        """End the run that uses this interrupt at its next operator, and refuse later ones."""
        self.is_set = True
        self.options.terminate = True


@dataclass
class _Call:
    """A binding, the buffer of tokens or embeddings it reads, the arrays of a growing state."""

    binding: Any
    tokens: np.ndarray
    grown: list[np.ndarray]


class Runner:
    """
    Advances states by tokens.

    Opening it runs a few tokens: a graph that cannot run is better found now than in a mission.

    Buffers are bound by address. In a decode step only the attention mask changes its shape, so
    nothing is allocated there: two calls, one for each set of windows, are prepared once.

    :param limit: the most tokens that a state may hold.
    :param embedder: of a graph that takes embeddings instead of ids.
    :ivar longest_call: the most tokens that can be read in one run.
    """

    def __init__(self, session: onnxruntime.InferenceSession, signature: GraphSignature,
                 limit: int, embedder: Embedder | None = None) -> None:
        self.session = session
        self._embedder = embedder
        self.signature = signature
        self.limit = limit
        self._mask = np.ones((1, limit), signature.mask_dtype)
        self._places = np.arange(limit, dtype=signature.positions_dtype)[None]
        self._keep = np.ones((1,) * signature.keep_rank, signature.keep_dtype)
        self._quiet = Interrupt()
        try:
            self.vocabulary, self.head_pruned = self._measure_logits()
        except SizesDisagree:
            raise
        except LfmError as error:
            if error.code != ErrorCode.MODEL_RUN_FAILED:
                raise
            raise LfmError(ErrorCode.PROVIDER_UNAVAILABLE, 'the graph opens but does not run on '
                           f'{", ".join(session.get_providers())}: export it for this provider '
                           f'({error.message})') from error
        self._row = np.empty((1, self.vocabulary), signature.logits_dtype)
        self._rows = self._row
        self.longest_call = limit
        if not self._can_continue([3, 4, 5]):
            # onnxruntime-genai's fp16 export for the CPU reads several tokens only at position 0.
            self.longest_call = 1
            if not self._can_continue([3]):
                raise LfmError(ErrorCode.MODEL_FOREIGN, 'the graph runs, but not behind tokens '
                               'that it has read before: export it again with its cache')
        self.shared = self._can_share()

    def new_state(self) -> State:
        """Return a state at position 0."""
        return State(self.signature, self.shared, self.limit)

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
        interrupt = interrupt or self._quiet
        if interrupt.is_set:
            raise Interrupted
        count = len(ids)
        end = state.position + count
        if end > self.limit:
            raise LfmError(ErrorCode.CONTEXT_FULL, f'{end} tokens do not fit the context of '
                           f'{self.limit}: reset the mission or raise model.context_length')
        state.reserve(end)
        rows = self._count_rows(count, every)
        if rows > len(self._rows):
            self._rows = np.empty((rows, self.vocabulary), self._row.dtype)
        logits = self._row if rows == 1 else self._rows[:rows]
        call = self._prepare(state, count, logits)
        call.tokens[0] = self._embed(self._embedder, ids, features) if self._embedder else ids
        self._run(call.binding, state.position, count, rows, interrupt)
        if call.grown:
            state.key_value = call.grown
        state.turn ^= 1
        state.position = end
        if not every:
            logits = logits[-1:]
        return logits if logits.dtype == np.float32 else logits.astype(np.float32)

    @staticmethod
    def _embed(embedder: Embedder, ids: Any, features: np.ndarray | None) -> np.ndarray:
        try:
            return embedder.rows(ids, features)
        except Exception as error:  # ONNX Runtime raises a different class for every status
            raise run_error(error) from error

    def _count_rows(self, count: int, every: bool) -> int:
        if self.head_pruned or (self.signature.keep and not every):
            return 1
        return count

    def _run(self, binding: Any, start: int, count: int, rows: int,
             interrupt: Interrupt) -> None:
        sig = self.signature
        if sig.keep:
            self._keep[...] = rows
        if sig.mask:
            _bind_in(binding, sig.mask, self._mask, (1, start + count))
        if sig.positions:
            _bind_in(binding, sig.positions, self._places[:, start:], (1, count))
        try:
            self.session.run_with_iobinding(binding, interrupt.options)
        except Exception as error:  # ONNX Runtime raises a different class for every status
            if interrupt.is_set:
                raise Interrupted from error
            raise run_error(error) from error

    def _prepare(self, state: State, count: int, logits: np.ndarray | None) -> _Call:
        """Return a call for this many tokens; with a state in place, decode steps reuse theirs."""
        step = count == 1 and state.shared and logits is not None
        if step and state.turn in state.prepared:
            return state.prepared[state.turn]
        sig = self.signature
        tokens = np.zeros((1, count, sig.hidden) if sig.hidden else (1, count), sig.ids_dtype)
        binding = self.session.io_binding()
        _bind_in(binding, sig.ids, tokens)
        if sig.keep:
            _bind_in(binding, sig.keep, self._keep)
        for tensor, now, after in zip(sig.conv, state.windows[state.turn],
                                      state.windows[state.turn ^ 1]):
            _bind_in(binding, tensor.name, now)
            _bind_out(binding, tensor.output, after)
        grown = []
        for tensor, past in zip(sig.key_value, state.key_value):
            present = past
            if not state.shared:
                shape = (*past.shape[:2], state.position + count, past.shape[3])
                present = np.empty(shape, past.dtype)
                grown.append(present)
            _bind_in(binding, tensor.name, past)
            _bind_out(binding, tensor.output, present)
        if logits is None:
            binding.bind_output(sig.logits, 'cpu')
        else:
            _bind_out(binding, sig.logits, logits, (1, *logits.shape))
        call = _Call(binding, tokens, grown)
        if step:
            state.prepared[state.turn] = call
        return call

    def _measure_logits(self) -> tuple[int, bool]:
        """Return the vocabulary, and whether only the last of several rows comes out."""
        state = State(self.signature, False, self.limit)
        call = self._prepare(state, 2, None)
        self._run(call.binding, 0, 2, 2, self._quiet)
        logits = call.binding.get_outputs()[-1].numpy()
        return logits.shape[-1], logits.shape[-2] == 1

    def _can_continue(self, ids: list[int]) -> bool:
        """
        Try whether these tokens can be read behind others.

        :raises SizesDisagree: when the session must be opened without reuse of memory.
        """
        state = State(self.signature, False, self.limit)
        try:
            self.run(state, [1, 2])
            self.run(state, ids)
        except SizesDisagree:
            raise
        except LfmError:
            return False
        return True

    def _can_share(self) -> bool:
        """
        Try whether keys and values can be appended in place.

        GroupQueryAttention takes one buffer as past and present and reads only what is valid;
        any other attention sees a past of the wrong length. So the same tokens are run both
        ways, with a poisoned buffer: what the graph does counts, not what it is called.
        """
        if not self.signature.key_value:
            return True
        grown, shared = (State(self.signature, s, self.limit) for s in (False, True))
        shared.reserve(4)
        for buffer in shared.key_value:
            buffer.fill(np.nan if buffer.dtype.kind == 'f' else 127)
        try:
            for ids in ([1, 2], [3]):
                found = self.run(shared, ids).copy()
                expected = self.run(grown, ids)
                if not np.allclose(found, expected, rtol=1e-2, atol=1e-2):
                    return False
        except LfmError:
            return False
        return True


def _bind_in(binding: Any, name: str, array: np.ndarray,
             shape: tuple[int, ...] | None = None) -> None:
    binding.bind_input(name, 'cpu', 0, array.dtype, array.shape if shape is None else shape,
                       array.ctypes.data)


def _bind_out(binding: Any, name: str, array: np.ndarray,
              shape: tuple[int, ...] | None = None) -> None:
    binding.bind_output(name, 'cpu', 0, array.dtype, array.shape if shape is None else shape,
                        array.ctypes.data)


def run_error(error: Exception, what: str = 'model') -> LfmError:
    """Return what is to be said of an error of ONNX Runtime in a run."""
    text = ' '.join(str(error).split())
    text = text if len(text) < 400 else f'{text[:200]} ... {text[-200:]}'
    if 'bad_alloc' in text or 'Failed to allocate' in text:
        return LfmError(ErrorCode.OUT_OF_MEMORY, f'the {what} ran out of memory: use a smaller '
                        f'model or context ({text})')
    if 're-use buffer' in text:
        return SizesDisagree(ErrorCode.MODEL_RUN_FAILED, f'the {what} failed while it ran: {text}')
    return LfmError(ErrorCode.MODEL_RUN_FAILED, f'the {what} failed while it ran: {text}')
