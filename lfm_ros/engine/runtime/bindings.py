# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bind the inputs and outputs of a graph to buffers, by their addresses."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.signature import BATCH
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.signature import LANE
from lfm_ros.engine.runtime.signature import PREFILL_ATTENTION
from lfm_ros.engine.runtime.signature import ROWS
from lfm_ros.engine.runtime.state import State
import numpy as np
import onnxruntime

# From so many tokens on, another attention or other matrix kernels pay, where a graph has them.
# This may not depend on measurements: a run that is repeated must take the same kernels.
LONG_RUN = 17
# The attention for many tokens takes memory for all keys and values of a layer in full precision
# (67 MB for LFM2-350M at this length, and as much again to append to), so it ends here.
LONG_CONTEXT = 8192


@dataclass(frozen=True)
class OpenGraph:
    """
    A graph that is open in ONNX Runtime.

    :param memory: where its states are.
    :param captures: whether a GPU can capture its runs and replay them.
    """

    session: onnxruntime.InferenceSession
    signature: GraphSignature
    memory: HostMemory = HOST
    captures: bool = False


@dataclass
class PreparedRun:
    """
    A prepared run.

    :param tokens: buffer of the ids ``[1, S]`` or embeddings ``[1, S, hidden]`` that it reads.
    :param grown: keys and values that take the place of the state's, where these grow.
    :param added: keys and values ``[1, heads, S, head_dim]`` to be put into the state's.
    """

    binding: Any
    tokens: np.ndarray
    grown: list[Buffer] = field(default_factory=list)
    added: list[Buffer] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)  # what the binding only has addresses of


def prepare(graph: OpenGraph, state: State, count: int, logits: np.ndarray | None,
            history: Sequence[Buffer] = ()) -> PreparedRun:
    """
    Return a run that reads so many tokens into one state.

    Inputs that change from run to run are still to be bound: for a device ONNX Runtime copies
    them when they are bound.

    :param logits: where they go; None: ONNX Runtime allocates them.
    :param history: where the columns go from which conv states are cut, or nothing.
    """
    sig = graph.signature
    tokens = np.zeros((1, count, sig.hidden) if sig.hidden else (1, count), sig.ids_dtype)
    run = PreparedRun(graph.session.io_binding(), tokens)
    binding = run.binding
    for tensor, now, after in zip(sig.conv, state.conv_state, state.next_conv_state):
        now.bind_input(binding, tensor.name)
        after.bind_output(binding, tensor.output)
    for name, columns in zip(sig.history, history):
        columns.bind_output(binding, name)
    prefill_attention = sig.long and state.shared and count >= LONG_RUN and \
        state.position + count <= LONG_CONTEXT
    for tensor, past in zip(sig.key_value, state.key_value):
        present = past
        if not state.shared:
            present = past.like(state.position + count)
            run.grown.append(present)
        past.bind_input(binding, tensor.name)
        present.bind_output(binding, tensor.output)
        if prefill_attention:
            run.added.append(past.like(count))
            run.added[-1].bind_output(binding, f'{ROWS}{tensor.layer}.{tensor.kind}')
    if sig.long:
        _bind_value(run, PREFILL_ATTENTION, np.array(prefill_attention))
    if sig.lanes:
        _bind_value(run, BATCH, np.array(False))
        _bind_no_batch(run, sig)
    if logits is None:
        binding.bind_output(sig.logits, 'cpu')
    else:
        bind_out(binding, sig.logits, logits, (1, *logits.shape))
    return run


def _bind_no_batch(run: PreparedRun, sig: GraphSignature) -> None:
    """Bind empty arrays to the lanes of a batch."""
    for place in range(sig.lanes):
        _bind_value(run, f'{LANE}{place}.seqlens', np.zeros(1, np.int32))
        _bind_value(run, f'{LANE}{place}.total', np.zeros((), np.int32))
        if place > 1:
            _bind_value(run, f'{LANE}{place}.on', np.array(False))
        if place:
            for tensor in sig.key_value:
                _bind_value(run, f'{LANE}{place}.{tensor.name}',
                            np.zeros(tensor.shape, tensor.dtype))


def _bind_value(run: PreparedRun, name: str, value: np.ndarray) -> None:
    bind_in(run.binding, name, value)
    run.kept.append(value)


def bind_in(binding: Any, name: str, array: np.ndarray,
            shape: tuple[int, ...] | None = None) -> None:
    """Bind an input to an array, which must outlive the binding, or to the first part of it."""
    binding.bind_input(name, 'cpu', 0, array.dtype, array.shape if shape is None else shape,
                       array.ctypes.data)


def bind_out(binding: Any, name: str, array: np.ndarray,
             shape: tuple[int, ...] | None = None) -> None:
    """Bind an output likewise."""
    binding.bind_output(name, 'cpu', 0, array.dtype, array.shape if shape is None else shape,
                        array.ctypes.data)
