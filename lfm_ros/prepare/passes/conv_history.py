# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Let the graph give out its conv states after every token of a run."""
from __future__ import annotations

from typing import Any

from lfm_ros.engine.runtime.signature import CONV_HISTORY
from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import CONVOLUTION
from lfm_ros.prepare.graph import Graph
from onnx import helper


def add_conv_history(graph: Graph) -> str:
    """
    Add the outputs ``history.{layer}`` ``[B, hidden, columns + S]``.

    They are the conv state before the run and, behind it, what each token adds to it: the conv
    state after token ``j`` of a run is ``history[:, :, j + 1:j + 1 + columns]``.

    :returns: why nothing was done; empty when something was.
    """
    if not graph.conv_states:
        return 'the model has no convolutions'
    if any(name.startswith(CONV_HISTORY) for name in graph.outputs):
        return 'the graph has its history'
    found = {layer: _join(graph, conv) for layer, conv in graph.conv_states.items()}
    for layer, (node, _) in found.items():
        if node is None:
            return f'the convolution of layer {layer} is none that is known'
    for layer, (node, fresh) in found.items():
        name = f'{CONV_HISTORY}{layer}'
        kind = graph.inputs[graph.conv_states[layer]].type.tensor_type
        dims = [d.dim_value or d.dim_param for d in kind.shape.dim]
        if fresh:
            graph.nodes.append(helper.make_node(
                'Concat', [graph.conv_states[layer], fresh], [name], name, axis=2))
        else:
            graph.rename(node.output[0], name)
        graph.add_output(name, kind.elem_type, [*dims[:2], f'{name}/columns'])
    graph.sort()
    return ''


def _join(graph: Graph, conv: str) -> tuple[Any, str]:
    """Return the node that joins a conv state and new columns, and the name of the latter."""
    for node in graph.consumers(conv):
        if node.op_type == CONVOLUTION and len(node.input) > 3 and node.input[3] == conv \
                and not attributes(node).get('channels_last', 0):
            return node, node.input[0]
        if node.op_type == 'Concat' and list(node.input)[:1] == [conv] \
                and len(node.input) == 2 and attributes(node)['axis'] in (2, -1) \
                and node.output[0] not in graph.outputs:
            return node, ''
    return None, ''
