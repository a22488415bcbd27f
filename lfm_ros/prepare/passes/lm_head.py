# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Let the caller choose after how many last tokens it gets logits."""
from __future__ import annotations

from typing import Any

from lfm_ros.engine.runtime.signature import KEEP_NAMES
from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import TO_THE_END
from lfm_ros.prepare.graph import values_read
from onnx import helper
from onnx import TensorProto

KEEP = 'logits_to_keep'

# What multiplies with the vocabulary, and what may follow it, row by row.
_PRODUCTS = ('MatMul', 'MatMulNBits', 'MatMulInteger', 'MatMulBnb4', 'DynamicQuantizeMatMul',
             'MatMulIntegerToFloat', 'FusedMatMul')
_ROWWISE = ('Add', 'Mul', 'Div', 'Sub', 'Cast', 'Tanh', 'Where', 'Identity')


def prune_lm_head(graph: Graph) -> str:
    """
    Add the input ``logits_to_keep`` int64 ``[1]``: rows of logits, counted from the end.

    An lm_head that gives the last row only, as onnxruntime-genai prunes it, gives all again.

    :returns: why nothing was done; empty when something was.
    """
    present = next((name for name in KEEP_NAMES if name in graph.inputs), '')
    if present:
        return f'the graph has the input {present}'
    head = find_lm_head(graph)
    if head is None:
        return 'the product that gives the logits was not found'
    hidden = _before_pruning(graph, head.input[0])
    if hidden in graph.inputs or graph.initializer(hidden) is not None:
        return 'the head reads no hidden state'
    start, rows = 'head/start', 'head/hidden'
    # Where a GPU runs the graph, its providers leave to the CPU what is computed of a shape, as
    # Slice needs it there: a bare Neg of the input would be copied back in every run, and a run
    # with a copy cannot be captured.
    nodes = [
        helper.make_node('Shape', [hidden], ['head/shape'], 'head/shape'),
        helper.make_node('Gather', ['head/shape', graph.add_constant('head/axis', [1])],
                         ['head/tokens'], 'head/tokens'),
        helper.make_node('Sub', ['head/tokens', KEEP], [start], 'head/start'),
        helper.make_node('Slice', [hidden, start, graph.add_constant('head/end', [TO_THE_END]),
                                   'head/axis'], [rows], 'head/keep')]
    head.input[0] = rows
    graph.nodes.extend(nodes)
    graph.add_input(KEEP, TensorProto.INT64, [1])
    graph.sort()
    graph.forget_shapes(graph.below(rows))
    _drop_unread(graph)
    _set_rows(graph.outputs['logits'])
    return ''


def find_lm_head(graph: Graph) -> Any:
    """Return the node that multiplies with the vocabulary, None if there is none."""
    value = 'logits'
    for _ in range(16):
        node = graph.producer(value)
        if node is None or node.op_type in _PRODUCTS:
            return node
        if node.op_type not in _ROWWISE:
            return None
        inner = [i for i in node.input if graph.producer(i) is not None
                 and graph.producer(i).op_type != 'Constant']
        scales = [i for i in inner if _is_scale(graph, i)]
        inner = [i for i in inner if i not in scales]
        if len(inner) != 1:
            return None
        value = inner[0]
    return None


def _is_scale(graph: Graph, value: str) -> bool:
    """Return whether a value is the scale of a product in 8 bits."""
    node = graph.producer(value)
    if node.op_type == 'Mul':
        return any(graph.producer(i) is not None and _is_scale(graph, i) for i in node.input)
    return bool(node.op_type == 'DynamicQuantizeLinear')


def _before_pruning(graph: Graph, value: str) -> str:
    """Return the hidden state of all tokens, behind which the last one may be picked."""
    node = graph.producer(value)
    if node is None:
        return value
    if node.op_type == 'Unsqueeze' and _is(graph, node.input[1:2], 1):
        gather = graph.producer(node.input[0])
        if gather is not None and gather.op_type == 'Gather' \
                and attributes(gather).get('axis', 0) == 1 and _is(graph, gather.input[1:2], -1):
            return str(gather.input[0])
    if node.op_type == 'Gather' and attributes(node).get('axis', 0) == 1 \
            and _is(graph, node.input[1:2], -1):
        return str(node.input[0])  # with an index of rank 1
    if node.op_type == 'Slice' and _is(graph, node.input[1:2], -1) \
            and _is(graph, node.input[3:4], 1):
        return str(node.input[0])
    return value


def _is(graph: Graph, names: Any, wanted: int) -> bool:
    value = graph.constant(names[0]) if names else None
    return value is not None and value.size == 1 and int(value.reshape(-1)[0]) == wanted


def _drop_unread(graph: Graph) -> None:
    """Drop nodes whose outputs are not read any more."""
    while True:
        read = set(graph.outputs).union(*map(values_read, graph.nodes))
        idle = [n for n in graph.nodes if read.isdisjoint(o for o in n.output if o)]
        if not idle:
            return
        for node in idle:
            graph.nodes.remove(node)


def _set_rows(logits: Any) -> None:
    dims = logits.type.tensor_type.shape.dim
    if len(dims) == 3:
        dims[1].Clear()
        dims[1].dim_param = 'num_logits'
