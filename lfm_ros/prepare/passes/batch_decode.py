# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Let several missions be decoded in one run, each with keys and values of its own.

A run of one token per row costs little more than one row alone, as it reads the weights once.
But the rows have histories of different lengths, and GroupQueryAttention wants them in one
tensor, which would have to be copied at every token. So each attention becomes an If: for one
mission it is the node that it was; in a batch there is one node for each lane, with its own
buffers.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros.engine.runtime.signature import BATCH
from lfm_ros.engine.runtime.signature import LANE
from lfm_ros.prepare import DEFAULT_LANES
from lfm_ros.prepare.graph import ATTENTION
from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import branch
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import MICROSOFT
from onnx import helper
from onnx import TensorProto

MAX_LANES = 16

# Inputs of GroupQueryAttention.
_PAST, _SEQLENS, _TOTAL, _COS, _POSITIONS, _BIAS = 3, 5, 6, 7, 9, 10


def lane_name(lane: int, name: str) -> str:
    """Return the name of an input or output of a lane; lane 0 uses those of the graph."""
    return f'{LANE}{lane}.{name}' if lane else name


def add_batch_decode(graph: Graph, lanes: int = DEFAULT_LANES) -> str:
    """
    Add lanes for other missions.

    New inputs: ``company`` bool ``[]``; for each lane ``slot.{i}.seqlens`` int32 ``[1]`` (tokens
    before this one), ``slot.{i}.total`` int32 ``[]`` (one more), from lane 2 on ``slot.{i}.on``
    bool ``[]``, and from lane 1 on keys and values ``slot.{i}.past_key_values.{layer}.key``,
    which come out as ``slot.{i}.present.{layer}.key``. Unused lanes take empty arrays.

    :returns: why nothing was done; empty when something was.
    """
    nodes = graph.of_type(ATTENTION)
    reason = _reason(graph, nodes, lanes)
    if reason:
        return reason
    graph.add_input(BATCH, TensorProto.BOOL, [])
    for lane in range(lanes):
        graph.add_input(f'{LANE}{lane}.seqlens', TensorProto.INT32, [1])
        graph.add_input(f'{LANE}{lane}.total', TensorProto.INT32, [])
        if lane > 1:
            graph.add_input(f'{LANE}{lane}.on', TensorProto.BOOL, [])
    for node in list(nodes):
        graph.replace(node, [_choice(graph, node, lanes)])
    for lane in range(1, lanes):
        for node in nodes:
            for name, present in zip(node.input[_PAST:_PAST + 2], node.output[1:3]):
                _declare(graph, lane, name, present)
    return ''


def _reason(graph: Graph, nodes: Sequence[Any], lanes: int) -> str:
    if BATCH in graph.inputs:
        return 'the graph has its rows'
    if lanes < 2:
        return 'a batch needs two rows or more'
    if not nodes or len(nodes) != len(graph.attention_layers):
        return 'its attention is not GroupQueryAttention'
    ids = graph.inputs.get('input_ids', graph.inputs.get('inputs_embeds'))
    if ids is None or ids.type.tensor_type.shape.dim[0].dim_value:
        return 'its batch size is fixed'
    for node in nodes:
        inputs = [*node.input, *[''] * 16]
        pasts = inputs[_PAST:_PAST + 2]
        if not all(p in graph.inputs for p in pasts) or len([o for o in node.output if o]) != 3:
            return f'{node.name} is connected in another way than is known'
        if inputs[_BIAS]:
            return f'{node.name} adds a bias to its scores'
        if attributes(node).get('do_rotary', 0):
            if any(graph.initializer(t) is None for t in inputs[_COS:_COS + 2]):
                return f'the rotary table of {node.name} depends on the length of the context'
        elif 'position_ids' not in graph.inputs:
            return 'the positions of its tokens come from the mask'
    return _reason_of_mask(graph)


def _reason_of_mask(graph: Graph) -> str:
    """Return why the mask, which the lanes of a batch do not use, is more than lengths."""
    reached = graph.reach('attention_mask', ATTENTION, (_SEQLENS, _TOTAL))
    return f'{reached} reads the attention mask' if reached else ''


def _choice(graph: Graph, node: Any, lanes: int) -> Any:
    """Return the If that is put in the place of an attention."""
    pasts = node.input[_PAST:_PAST + 2]
    others = [lane_name(lane, p) for lane in range(1, lanes) for p in pasts]
    names = [*node.output[:3], *(lane_name(lane, p) for lane in range(1, lanes)
                                 for p in node.output[1:3])]
    prefix = node.name or node.output[0]
    inner = [f'{prefix}/alone/{i}' for i in range(len(names))]
    alone = branch('alone', [
        _attention(node, f'{prefix}/alone', {}, inner[:3]),
        *(helper.make_node('Identity', [p], [i]) for p, i in zip(others, inner[3:]))], inner)
    return helper.make_node('If', [BATCH], names, f'{prefix}/choose', else_branch=alone,
                            then_branch=_rows(graph, node, prefix, lanes, len(names)))


def _rows(graph: Graph, node: Any, prefix: str, lanes: int, count: int) -> Any:
    """Return the branch with an attention for each row."""
    nodes: list[Any] = []
    outputs = [f'{prefix}/row/{i}' for i in range(count)]
    pieces = [f'{prefix}/row/output{lane}' for lane in range(lanes)]
    for lane in range(lanes):
        own, change = f'{prefix}/{lane}', {}
        for index in (0, 1, 2, _POSITIONS):
            if index < len(node.input) and node.input[index]:
                change[index] = f'{own}/input{index}'
                nodes.append(_cut(graph, node.input[index], change[index], lane, lane + 1, 0))
        for index in (_PAST, _PAST + 1):
            change[index] = lane_name(lane, node.input[index])
        change[_SEQLENS], change[_TOTAL] = f'{LANE}{lane}.seqlens', f'{LANE}{lane}.total'
        ends = [pieces[lane], *outputs[1 + 2 * lane:3 + 2 * lane]]
        if lane < 2:
            nodes.append(_attention(node, own, change, ends))
        else:
            nodes.append(_optional(graph, node, own, change, ends, lane, pieces[0]))
    nodes.append(helper.make_node('Concat', pieces, outputs[:1], f'{prefix}/join', axis=0))
    return branch('company', nodes, outputs)


def _optional(graph: Graph, node: Any, own: str, change: dict[int, str], ends: list[str],
              lane: int, first: str) -> Any:
    """Return the attention of a row that may not be there."""
    inner = [f'{own}/on/{i}' for i in range(3)]
    on = branch('on', [_attention(node, f'{own}/attention', change, inner)], inner)
    outer = [f'{own}/off/{i}' for i in range(3)]
    nodes = [helper.make_node('Identity', [change[_PAST + i]], [outer[1 + i]]) for i in (0, 1)]
    # No row, as wide as the others whatever the width of query, key and value in one may be.
    nodes.append(_cut(graph, first, outer[0], 0, 0, 0))
    return helper.make_node('If', [f'{LANE}{lane}.on'], ends, f'{own}/choose', then_branch=on,
                            else_branch=branch('off', nodes, outer))


def _cut(graph: Graph, value: str, result: str, start: int, end: int, axis: int) -> Any:
    bounds = [graph.add_constant(f'company/at{n}', [n]) for n in (start, end, axis)]
    return helper.make_node('Slice', [value, *bounds], [result])


def _attention(node: Any, name: str, change: dict[int, str], outputs: Sequence[str]) -> Any:
    """Return the same attention with other inputs and outputs."""
    inputs = [change.get(i, value) for i, value in enumerate(node.input)]
    return helper.make_node(ATTENTION, inputs, outputs, name, domain=MICROSOFT,
                            **attributes(node))


def _declare(graph: Graph, lane: int, name: str, present: str) -> None:
    """Add an input for keys or values of a row and the output that follows it."""
    for value, here, add in ((name, graph.inputs, graph.add_input),
                             (present, graph.outputs, graph.add_output)):
        kind = here[value].type.tensor_type
        dims = [d.dim_value or d.dim_param for d in kind.shape.dim]
        own = lane_name(lane, value)
        add(own, kind.elem_type, [1, dims[1], f'{own}/rows', dims[3]])
