# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Let the graph give out the windows of its convolutions after every token of a call."""
from __future__ import annotations

from typing import Any

from lfm_ros.engine.graph import HISTORY
from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import CONVOLUTION
from lfm_ros.prepare.graph import Graph
from onnx import helper


def add_history(graph: Graph) -> str:
    """
    Add the outputs ``history.{layer}`` ``[B, hidden, columns + S]``.

    They are the window before the call and, behind it, what each token adds to it: the window
    after token ``j`` of a call is ``history[:, :, j + 1:j + 1 + columns]``.

    :returns: why nothing was done; empty when something was.
    """
    if not graph.windows:
        return 'the model has no convolutions'
    if any(name.startswith(HISTORY) for name in graph.outputs):
        return 'the graph has its history'
    found = {layer: _join(graph, window) for layer, window in graph.windows.items()}
    for layer, (node, _) in found.items():
        if node is None:
            return f'the convolution of layer {layer} is none that is known'
    for layer, (node, fresh) in found.items():
        name = f'{HISTORY}{layer}'
        kind = graph.inputs[graph.windows[layer]].type.tensor_type
        dims = [d.dim_value or d.dim_param for d in kind.shape.dim]
        if fresh:
            graph.nodes.append(helper.make_node('Concat', [graph.windows[layer], fresh], [name],
                                                name, axis=2))
        else:
            graph.rename(node.output[0], name)
        graph.add_output(name, kind.elem_type, [*dims[:2], f'{name}/columns'])
    graph.sort()
    return ''


def _join(graph: Graph, window: str) -> tuple[Any, str]:
    """Return the node that joins a window and what is new, and the name of the latter."""
    for node in graph.consumers(window):
        if node.op_type == CONVOLUTION and len(node.input) > 3 and node.input[3] == window \
                and not attributes(node).get('channels_last', 0):
            return node, node.input[0]
        if node.op_type == 'Concat' and list(node.input)[:1] == [window] \
                and len(node.input) == 2 and attributes(node)['axis'] in (2, -1) \
                and node.output[0] not in graph.outputs:
            return node, ''
    return None, ''
