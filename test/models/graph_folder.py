# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Copy a model folder with a changed graph."""

from collections.abc import Callable
from pathlib import Path
import shutil
from typing import Any

import onnx


def copy(source: Path, target: Path) -> Path:
    """Copy the folder `source` to `target`, which must not exist yet, and return `target`."""
    shutil.copytree(source, target)
    return target


def read(folder: Path) -> onnx.ModelProto:
    """Return the graph `model.onnx` of `folder` with all weights in memory."""
    return onnx.load(str(folder / 'model.onnx'))


def write(model: onnx.ModelProto, graph: Path, data: str | None) -> None:
    """
    Save `model` as the file `graph`.

    :param data: name of a file beside it for the weights, or None to keep them in `graph`
    """
    for file in (graph, graph.parent / data if data else graph):
        file.unlink(missing_ok=True)
    if data is None:
        onnx.save(model, str(graph))
    else:
        onnx.save(
            model, str(graph), save_as_external_data=True, all_tensors_to_one_file=True,
            location=data, size_threshold=256)


def edit(source: Path, target: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """
    Copy `source` to `target`, apply `change` to its graph, and return `target`.

    Shapes noted inside the graph are dropped, since a change may make them wrong.
    """
    model = read(source)
    change(model)
    del model.graph.value_info[:]
    copy(source, target)
    write(model, target / 'model.onnx', 'model.onnx.data')
    return target


def replace_nodes(
        graph: onnx.GraphProto, op_type: str,
        replacement: Callable[[onnx.NodeProto], list[onnx.NodeProto]]) -> None:
    """
    Replace every node of `op_type` by the nodes that `replacement` returns for it.

    :raises ValueError: the graph holds no such node
    """
    if not any(node.op_type == op_type for node in graph.node):
        raise ValueError(f'the graph has no {op_type}')
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += replacement(node) if node.op_type == op_type else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of `node` as Python values."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def head_size(attention: onnx.NodeProto) -> int:
    """Return the width of a head, from the scale 1 / sqrt(width) of GroupQueryAttention."""
    return round(attributes(attention)['scale'] ** -2)


def rotated_size(graph: onnx.GraphProto, attention: onnx.NodeProto) -> int:
    """Return how many numbers of a head GroupQueryAttention rotates, from its table of cosines."""
    table = attention.input[7]
    for tensor in graph.initializer:
        if tensor.name == table:
            return 2 * tensor.dims[1]
    choice = next(node for node in graph.node if table in node.output)
    branch = attributes(choice)['then_branch']
    made = branch.output[list(choice.output).index(table)].name
    constant = next(node for node in branch.node if made in node.output)
    return 2 * attributes(constant)['value'].dims[1]
