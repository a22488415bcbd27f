# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Other forms of a fixture which are met in the field and give the same numbers.

Each function reads the model folder `source`, writes the new folder `target` and returns it, so
that they can follow one another: `with_position_ids(without_state_size(a, b), c)`.
They need the package onnx and neither torch nor transformers.
"""

import json
from pathlib import Path
from typing import Any

from graph_folder import attributes
from graph_folder import edit
from graph_folder import head_size
from graph_folder import replace_nodes
from graph_folder import rotated_size
import numpy
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto

END = 2 ** 63 - 1


def with_position_ids(source: Path, target: Path) -> Path:
    """
    Add an input `position_ids` [batch_size, sequence_length] on which the result depends.

    The rotation leaves GroupQueryAttention for RotaryEmbedding nodes of its own, as in the first
    exports of Liquid AI.
    """
    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        replace_nodes(graph, 'GroupQueryAttention', lambda node: _rotate_outside(node, graph))
        _add_input(graph, 'position_ids', TensorProto.INT64, ['batch_size', 'sequence_length'])
    return edit(source, target, change)


def with_num_logits_to_keep(source: Path, target: Path) -> Path:
    """Add a scalar input `num_logits_to_keep`: logits of so many last ids only, 0 for all."""
    def change(model: onnx.ModelProto) -> None:
        _add_input(model.graph, 'num_logits_to_keep', TensorProto.INT64, [])
        _constant(model.graph, 'keep/shape', [1])
        _keep_rows(model, 'num_logits', [
            helper.make_node('Neg', ['num_logits_to_keep'], ['keep/negative']),
            helper.make_node('Reshape', ['keep/negative', 'keep/shape'], ['keep/start'])])
    return edit(source, target, change)


def with_last_logits_only(source: Path, target: Path) -> Path:
    """Compute the logits [batch_size, 1, vocabulary] of the last id only."""
    def change(model: onnx.ModelProto) -> None:
        _constant(model.graph, 'keep/start', [-1])
        _keep_rows(model, 1, [])
    return edit(source, target, change)


def with_state_size(source: Path, target: Path, size: int | None = None) -> Path:
    """
    Write the width of key and value states as a number.

    :param size: the width; None takes `head_size` of genai_config.json
    """
    if size is None:
        config = json.loads((source / 'genai_config.json').read_text())
        size = config['model']['decoder']['head_size']
    return edit(source, target, lambda model: _set_state_width(model.graph, size))


def without_state_size(source: Path, target: Path, symbol: str = 'kv_cache_dim') -> Path:
    """Write the width of key and value states as the name `symbol`, which only a config tells."""
    return edit(source, target, lambda model: _set_state_width(model.graph, symbol))


def with_fixed_batch(source: Path, target: Path) -> Path:
    """Write the batch size as the number 1 wherever it is a name."""
    def change(model: onnx.ModelProto) -> None:
        for item in [*model.graph.input, *model.graph.output]:
            for dim in item.type.tensor_type.shape.dim:
                if dim.dim_param == 'batch_size':
                    dim.dim_value = 1
    return edit(source, target, change)


def with_reversed_signature(source: Path, target: Path) -> Path:
    """List inputs and outputs in the opposite order; who goes by name is not disturbed."""
    def change(model: onnx.ModelProto) -> None:
        for items in (model.graph.input, model.graph.output):
            backwards = list(items)[::-1]
            del items[:]
            items.extend(backwards)
    return edit(source, target, change)


def with_accuracy_level(source: Path, target: Path, level: int) -> Path:
    """Compute quantized products in another way: 0 or 1 with fp32 activations, 4 with int8."""
    def change(model: onnx.ModelProto) -> None:
        def again(node: onnx.NodeProto) -> list[onnx.NodeProto]:
            kept = [a for a in node.attribute if a.name != 'accuracy_level']
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute('accuracy_level', level)])
            return [node]
        replace_nodes(model.graph, 'MatMulNBits', again)
    return edit(source, target, change)


def without_states(source: Path, target: Path) -> Path:
    """Drop all states, inputs and outputs: each call then needs the whole sequence again."""
    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        for item in [i for i in graph.input if i.name.startswith('past')]:
            kind = item.type.tensor_type
            shape = [dim.dim_value for dim in kind.shape.dim]
            if item.name.endswith(('.key', '.value')):
                attention = next(node for node in graph.node if item.name in node.input)
                shape[2:] = [0, head_size(attention)]
            empty = numpy.zeros([1, *shape[1:]], helper.tensor_dtype_to_np_dtype(kind.elem_type))
            graph.initializer.append(numpy_helper.from_array(empty, item.name))
            graph.input.remove(item)
        for item in [i for i in graph.output if i.name.startswith('present')]:
            graph.output.remove(item)
    return edit(source, target, change)


def _rotate_outside(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return RotaryEmbedding nodes for query and key and `node` without its own rotation."""
    values = attributes(node)
    heads, kv_heads = values['num_heads'], values['kv_num_heads']
    cos, sin = node.input[7:9]
    nodes = []
    if not node.input[1]:
        size = head_size(node)
        parts = [f'{node.name}/{part}' for part in ('query', 'key', 'value')]
        widths = _constant(
            graph, f'{node.name}/widths', [heads * size, kv_heads * size, kv_heads * size])
        nodes.append(helper.make_node('Split', [node.input[0], widths], parts, axis=-1))
        node.input[0], node.input[1], node.input[2] = parts
    for index, count in ((0, heads), (1, kv_heads)):
        rotated = f'{node.name}/rotated_{index}'
        nodes.append(helper.make_node(
            'RotaryEmbedding', [node.input[index], 'position_ids', cos, sin], [rotated],
            domain='com.microsoft', interleaved=0, **_partial(graph, node, count)))
        node.input[index] = rotated
    node.input[7] = node.input[8] = ''
    next(a for a in node.attribute if a.name == 'do_rotary').i = 0
    return [*nodes, node]


def _partial(graph: onnx.GraphProto, node: onnx.NodeProto, count: int) -> dict[str, Any]:
    """Return what RotaryEmbedding must be told when it rotates only a part of each head."""
    rotated = rotated_size(graph, node)
    if rotated == head_size(node):
        return {}
    return {'num_heads': count, 'rotary_embedding_dim': rotated}


def _keep_rows(
        model: onnx.ModelProto, rows: int | str, before: list[onnx.NodeProto]) -> None:
    """
    Slice the hidden states from row `keep/start` on, before the last product.

    :param rows: size of dimension 1 of the logits afterwards
    :param before: nodes that compute `keep/start`
    """
    graph = model.graph
    head = next(node for node in graph.node if 'logits' in node.output)
    nodes = before + [helper.make_node(
        'Slice', [head.input[0], 'keep/start', _constant(graph, 'keep/end', [END]),
                  _constant(graph, 'keep/axis', [1])], ['keep/hidden'])]
    head.input[0] = 'keep/hidden'
    index = list(graph.node).index(head)
    rest = list(graph.node)[index:]
    del graph.node[index:]
    graph.node.extend(nodes + rest)
    logits = next(item for item in graph.output if item.name == 'logits')
    _set_size(logits.type.tensor_type.shape.dim[1], rows)


def _set_state_width(graph: onnx.GraphProto, width: int | str) -> None:
    """Set the last dimension of all key and value states."""
    for item in [*graph.input, *graph.output]:
        if item.name.endswith(('.key', '.value')):
            _set_size(item.type.tensor_type.shape.dim[3], width)


def _set_size(dim: Any, size: int | str) -> None:
    """Set a dimension to a number or a name."""
    dim.Clear()
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size


def _add_input(graph: onnx.GraphProto, name: str, kind: int, shape: list[int | str]) -> None:
    """Add an input behind the first two."""
    graph.input.insert(2, helper.make_tensor_value_info(name, kind, shape))


def _constant(graph: onnx.GraphProto, name: str, values: list[int]) -> str:
    """Add a list of int64 under `name` and return `name`."""
    graph.initializer.append(numpy_helper.from_array(numpy.array(values, numpy.int64), name))
    return name
