# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A second graph for long runs: products in 8 bits with one scale for each column."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.session import session_options
from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import MICROSOFT
from lfm_ros.prepare.graph import values_read
from lfm_ros.prepare.passes.lm_head import find_lm_head
from lfm_ros.prepare.weights import read
import numpy as np
import onnx
from onnx import helper
from onnx import TensorProto
import onnxruntime

_BITS = (2, 4, 8)
_WIDTH = 64  # rows of a weight that must overflow


def in_eight_bits(graph: Graph, folder: Path) -> Graph | str:
    """
    Return a copy of a graph with DynamicQuantizeMatMul in the place of MatMulNBits.

    That is twice as fast for many rows, and needs all weights again. The lm_head stays as it is.

    :param folder: where the weights lie.
    :returns: why there is none, as text; the copy holds its new weights in memory.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    copy = Graph(model)
    head = find_lm_head(copy)
    nodes = [n for n in copy.of_type('MatMulNBits') if n is not head and n != head]
    if not nodes:
        return 'it has no MatMulNBits'
    reason = next(filter(None, (_reason(copy, node) for node in nodes)), '')
    if reason:
        return reason
    for node in list(nodes):
        bias = [*node.input, *[''] * 6][5]
        inputs = [node.input[0], *_new_weight(copy, node, folder), *([bias] if bias else [])]
        copy.replace(node, [helper.make_node('DynamicQuantizeMatMul', inputs, node.output,
                                             node.name, domain=MICROSOFT)])
    _drop_unread_weights(copy)
    return copy


def _reason(graph: Graph, node: Any) -> str:
    inputs = [*node.input, *[''] * 6]
    weights = [graph.initializer(name) for name in inputs[1:4] if name]
    if inputs[4] or any(w is None for w in weights):
        return f'{node.name} has weights of another kind than is known'
    if attributes(node)['bits'] not in _BITS or weights[1].data_type != TensorProto.FLOAT:
        return f'{node.name} is not a product of floating point numbers of 32 bits'
    return ''


def _new_weight(graph: Graph, node: Any, folder: Path) -> tuple[str, str, str]:
    """
    Add a weight in 8 bits, its scales and zero points, unless another node has done so.

    It is written without signs, which is right on every machine: see :func:`adds_up_with_signs`.
    """
    weight, scale, zero = (f'{node.input[1]}/{part}' for part in ('uint8', 'scale', 'zero'))
    if graph.initializer(weight) is None:
        numbers, scales = by_column(full_weight(graph, node, folder))
        graph.add_constant(weight, numbers.view(np.uint8) ^ 128, np.uint8)
        graph.add_constant(scale, scales, np.float32)
        graph.add_constant(zero, np.full(len(scales), 128), np.uint8)
    return weight, scale, zero


def adds_up_with_signs() -> bool:
    """
    Return whether kernels for weights with a sign are right on this machine.

    On x86 without VNNI they add up in 16 bits, and what overflows is cut without a word.
    """
    graph = Graph(helper.make_model(helper.make_graph(
        [helper.make_node('DynamicQuantizeMatMul', ['a', 'w', 's', 'z'], ['y'],
                          domain=MICROSOFT)], 'largest',
        [helper.make_tensor_value_info('a', TensorProto.FLOAT, [1, _WIDTH])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 1])]), ir_version=10,
        opset_imports=[helper.make_opsetid('', 18), helper.make_opsetid(MICROSOFT, 1)]))
    graph.add_constant('w', np.full((_WIDTH, 1), 127), np.int8)
    graph.add_constant('s', [1], np.float32)
    graph.add_constant('z', [0], np.int8)
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), session_options(),
                                           providers=[CPU])
    product = session.run(None, {'a': np.ones((1, _WIDTH), np.float32)})[0]
    return bool(np.allclose(product, 127 * _WIDTH))


def with_signs(graph: Graph) -> None:
    """
    Give the weights of DynamicQuantizeMatMul their signs, for kernels that want these.

    The products are the same. On x86 with AMX they are seven times as fast (ONNX Runtime 1.31);
    those without signs do not even use VNNI. ONNX Runtime computes the new weights once, when it
    optimises the graph.
    """
    done: set[str] = set()
    for node in list(graph.of_type('DynamicQuantizeMatMul')):
        weight, zero = node.input[1], node.input[3]
        kind = graph.initializer(weight)
        if kind is None or kind.data_type != TensorProto.UINT8:
            continue
        node.input[1], node.input[3] = f'{weight}/signed', f'{zero}/signed'
        for name in {weight, zero} - done:
            done.add(name)
            half = graph.add_constant('half', [128], np.uint8)
            graph.nodes.append(helper.make_node('BitwiseXor', [name, half], [f'{name}/flipped']))
            graph.nodes.append(helper.make_node('Cast', [f'{name}/flipped'], [f'{name}/signed'],
                                                to=TensorProto.INT8))
    graph.sort()


def full_weight(graph: Graph, node: Any, folder: Path) -> np.ndarray:
    """Return the weight of MatMulNBits as float32 ``[K, N]``."""
    values = attributes(node)
    bits, block = values['bits'], values['block_size']
    packed, scales = (read(graph.initializer(n), folder) for n in node.input[1:3])
    columns, blocks = packed.shape[:2]
    numbers = _unpacked(packed.reshape(columns * blocks, -1), bits)
    numbers = numbers.reshape(columns, blocks, block).astype(np.float32)
    zero: Any = np.float32(1 << bits - 1)
    if len(node.input) > 3 and node.input[3]:
        zero = read(graph.initializer(node.input[3]), folder)
        if zero.dtype == np.uint8:
            zero = _unpacked(zero.reshape(columns, -1), bits)[:, :blocks]
        zero = zero.reshape(columns, blocks, 1).astype(np.float32)
    numbers -= zero
    numbers *= scales.reshape(columns, blocks, 1)
    return numbers.reshape(columns, -1)[:, :values['K']].T


def _unpacked(rows: np.ndarray, bits: int) -> np.ndarray:
    """Return the numbers in bytes, those in the lower bits of a byte first."""
    if bits == 8:
        return rows
    parts = [rows >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(rows), -1)


def by_column(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 ``[K, N]`` and float32 ``[N]`` whose product is nearest to a weight."""
    scale = np.abs(weight).max(axis=0) / np.float32(127)
    scale[scale == 0] = 1
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def _drop_unread_weights(graph: Graph) -> None:
    read_by_nodes = set(graph.outputs).union(*map(values_read, graph.nodes))
    kept = [t for t in graph.proto.initializer if t.name in read_by_nodes]
    del graph.proto.initializer[:]
    graph.proto.initializer.extend(kept)
