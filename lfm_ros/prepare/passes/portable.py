# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write a graph with what older versions of ONNX Runtime have."""
from __future__ import annotations

from typing import Any

from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import CONVOLUTION
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import TO_THE_END
from onnx import helper

_OPERATOR_SINCE = (1, 25)
_ATTRIBUTE_SINCE = (1, 29)


def make_portable(graph: Graph, version: tuple[int, int] = (0, 0)) -> str:
    """
    Write out CausalConvWithState where ONNX Runtime of this version does not have it.

    The numbers stay the same: the operator is a concatenation of conv state and input, a
    depthwise convolution, and the last columns as the next conv state.

    :returns: why nothing was done; empty when something was.
    """
    nodes = graph.of_type(CONVOLUTION)
    if not nodes:
        return 'the graph has no operator that older versions lack'
    if version >= _ATTRIBUTE_SINCE:
        return 'this ONNX Runtime has all operators of the graph'
    reason = next(filter(None, (_reason(graph, node) for node in nodes)), '')
    if reason:
        return reason
    for node in nodes:
        if version < _OPERATOR_SINCE:
            graph.replace(node, _written_out(graph, node))
        else:
            kept = [a for a in node.attribute if a.name != 'state_window']
            del node.attribute[:]
            node.attribute.extend(kept)
    return ''


def _reason(graph: Graph, node: Any) -> str:
    values = attributes(node)
    if values.get('state_window', 0):
        return f'{node.name} keeps several states, which only newer versions can'
    if values.get('activation', b'none') not in (b'none', b'') or values.get('ndim', 1) != 1:
        return f'{node.name} is another convolution than that of LFM2'
    if values.get('channels_last', 0) or values.get('dilation', 1) != 1:
        return f'{node.name} is another convolution than that of LFM2'
    if graph.initializer(node.input[1]) is None or len(node.input) < 4 or not node.input[3]:
        return f'{node.name} has no weights or no window'
    return ''


def _written_out(graph: Graph, node: Any) -> list[Any]:
    x, weight, bias, past = node.input[:4]
    y, present = node.output
    channels, _, width = graph.initializer(weight).dims
    name = node.name or y
    bounds = [graph.add_constant(f'{name}/{part}', [value]) for part, value in (
        ('start', 1 - width), ('end', TO_THE_END), ('axis', 2))]
    joined = f'{name}/joined'
    return [
        helper.make_node('Concat', [past, x], [joined], f'{name}/join', axis=2),
        helper.make_node('Conv', [joined, weight, *([bias] if bias else [])], [y],
                         f'{name}/convolve', group=channels),
        helper.make_node('Slice', [joined, *bounds], [present], f'{name}/keep')]
