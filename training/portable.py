# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrite an exported graph with operators that older versions of ONNX Runtime have."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

TO_THE_END = np.iinfo(np.int64).max


def make_portable(graph_file: Path) -> None:
    """
    Write out CausalConvWithState, which ONNX Runtime has since 1.25 (with this attribute 1.29).

    Python 3.10, that of Ubuntu 22.04, has ONNX Runtime 1.23 at most. The numbers stay the same:
    the operator is a concatenation of state and input, a depthwise convolution, and the last
    columns as the next state.
    """
    model = onnx.load(graph_file, load_external_data=False)
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != 'CausalConvWithState':
            nodes.append(node)
            continue
        x, weight, _, past = node.input
        y, present = node.output
        channels, _, width = shapes[weight]
        name = node.name or y
        bounds = [f'{name}/{part}' for part in ('start', 'end', 'axis')]
        for bound, value in zip(bounds, (1 - width, TO_THE_END, -1)):
            model.graph.initializer.append(
                numpy_helper.from_array(np.array([value], np.int64), bound))
        joined = f'{name}/joined'
        nodes += [
            helper.make_node('Concat', [past, x], [joined], f'{name}/join', axis=-1),
            helper.make_node('Conv', [joined, weight], [y], f'{name}/convolve', group=channels),
            helper.make_node('Slice', [joined, *bounds], [present], f'{name}/keep')]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, graph_file)
