# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bind the inputs and outputs of a graph to buffers, by their addresses."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from lfm_ros.engine.buffers import Buffer
from lfm_ros.engine.graph import COMPANY
from lfm_ros.engine.graph import GraphSignature
from lfm_ros.engine.graph import LONG
from lfm_ros.engine.graph import ROWS
from lfm_ros.engine.graph import SLOT
from lfm_ros.engine.state import State
import numpy as np
import onnxruntime

# From so many tokens on, a call is worth another attention or other matrix kernels, where a graph
# has them. It may not depend on what is measured: a call that is made again must be the same.
LONG_CALL = 17
# The attention for many tokens takes memory for all keys and values of a layer in full precision
# (67 MB for LFM2-350M at this length, and as much again to append to), so it ends here.
LONG_HISTORY = 8192


@dataclass(frozen=True)
class OpenGraph:
    """A graph that is open in ONNX Runtime."""

    session: onnxruntime.InferenceSession
    signature: GraphSignature


@dataclass
class Call:
    """
    A prepared call.

    :param tokens: buffer of the ids ``[1, S]`` or embeddings ``[1, S, hidden]`` that it reads.
    :param grown: keys and values that take the place of the state's, where these grow.
    :param added: keys and values ``[1, heads, S, head_dim]`` to be put into the state's.
    """

    binding: Any
    tokens: np.ndarray
    grown: list[Buffer] = field(default_factory=list)
    added: list[Buffer] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)  # what the binding only has addresses of


def prepare(graph: OpenGraph, state: State, count: int, keep: np.ndarray,
            logits: np.ndarray | None, history: Sequence[Buffer] = ()) -> Call:
    """
    Return a call that reads so many tokens into one state.

    :param keep: how many rows of logits come out, where the graph wants to be told.
    :param logits: where they go; None: ONNX Runtime finds the place.
    :param history: where the columns go that the windows are cut from, or nothing.
    """
    sig = graph.signature
    tokens = np.zeros((1, count, sig.hidden) if sig.hidden else (1, count), sig.ids_dtype)
    call = Call(graph.session.io_binding(), tokens)
    binding = call.binding
    bind_in(binding, sig.ids, tokens)
    if sig.keep:
        bind_in(binding, sig.keep, keep)
    for tensor, now, after in zip(sig.conv, state.conv_state, state.next_conv_state):
        now.bind_input(binding, tensor.name)
        after.bind_output(binding, tensor.output)
    for name, columns in zip(sig.history, history):
        columns.bind_output(binding, name)
    is_long = sig.long and state.shared and count >= LONG_CALL and \
        state.position + count <= LONG_HISTORY
    for tensor, past in zip(sig.key_value, state.key_value):
        present = past
        if not state.shared:
            present = _buffer_like(past, state.position + count)
            call.grown.append(present)
        past.bind_input(binding, tensor.name)
        present.bind_output(binding, tensor.output)
        if is_long:
            call.added.append(_buffer_like(past, count))
            call.added[-1].bind_output(binding, f'{ROWS}{tensor.layer}.{tensor.kind}')
    if sig.long:
        _bind_value(call, LONG, np.array(is_long))
    if sig.slots:
        _bind_value(call, COMPANY, np.array(False))
        _bind_no_company(call, sig)
    if logits is None:
        binding.bind_output(sig.logits, 'cpu')
    else:
        bind_out(binding, sig.logits, logits, (1, *logits.shape))
    return call


def _bind_no_company(call: Call, sig: GraphSignature) -> None:
    """Fill the places of other states with nothing."""
    for place in range(sig.slots):
        _bind_value(call, f'{SLOT}{place}.seqlens', np.zeros(1, np.int32))
        _bind_value(call, f'{SLOT}{place}.total', np.zeros((), np.int32))
        if place > 1:
            _bind_value(call, f'{SLOT}{place}.on', np.array(False))
        if place:
            for tensor in sig.key_value:
                _bind_value(call, f'{SLOT}{place}.{tensor.name}',
                            np.zeros(tensor.shape, tensor.dtype))


def _bind_value(call: Call, name: str, value: np.ndarray) -> None:
    bind_in(call.binding, name, value)
    call.kept.append(value)


def _buffer_like(buffer: Buffer, rows: int) -> Buffer:
    """Return one for as many rows."""
    return Buffer((*buffer.shape[:2], rows, buffer.shape[3]), buffer.dtype)


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
