# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Forms of a fixture in which fused operators are written out in plain ONNX.

Attention by Concat, MatMul and Softmax grows its states by a copy: past and present can not share
a buffer. Convolution by Concat, Conv and Slice runs on every ONNX Runtime.
"""

from pathlib import Path

from graph_folder import attributes
from graph_folder import edit
from graph_folder import head_size
from graph_folder import replace_nodes
from graph_folder import rotated_size
import onnx
from onnx import helper
from onnx import inliner
from onnx import parser

DOMAIN = 'written_out'

_ATTENTION = """
<domain: "written_out", opset_import: ["": {opset}]>
{name} (q, k, v, past_key, past_value, mask, positions, cos_cache, sin_cache)
    => (output, key, value) {{
  zero = Constant <value_int: int = 0> ()
  one = Constant <value_int: int = 1> ()
  axes = Constant <value_ints: ints = [1, 2, 3]> ()
  middle = Constant <value_ints: ints = [2]> ()
  second = Constant <value_ints: ints = [1]> ()
  q_shape = Constant <value_ints: ints = [0, 0, {heads}, {size}]> ()
  k_shape = Constant <value_ints: ints = [0, 0, {kv_heads}, {size}]> ()
  group_shape = Constant <value_ints: ints = [0, {kv_heads}, {group}, -1, {size}]> ()
  flat_shape = Constant <value_ints: ints = [0, 0, {width}]> ()
  scale = Constant <value_float: float = {scale}> ()
  lowest = Constant <value_float: float = -60000.0> ()
  q_split = Reshape (q, q_shape)
  k_split = Reshape (k, k_shape)
  v_split = Reshape (v, k_shape)
  q_heads = Transpose <perm: ints = [0, 2, 1, 3]> (q_split)
  k_heads = Transpose <perm: ints = [0, 2, 1, 3]> (k_split)
  v_heads = Transpose <perm: ints = [0, 2, 1, 3]> (v_split)
  cos_rows = Gather <axis: int = 0> (cos_cache, positions)
  sin_rows = Gather <axis: int = 0> (sin_cache, positions)
  cos = Unsqueeze (cos_rows, second)
  sin = Unsqueeze (sin_rows, second)
{rotate_q}
{rotate_k}
  key = Concat <axis: int = 2> (past_key, k_rotated)
  value = Concat <axis: int = 2> (past_value, v_heads)
  past_length = Shape <start: int = 2, end: int = 3> (past_key)
  total_length = Shape <start: int = 2, end: int = 3> (key)
  past = Squeeze (past_length)
  total = Squeeze (total_length)
  row = Range (past, total, one)
  column = Range (zero, total, one)
  rows = Unsqueeze (row, one)
  causal = LessOrEqual (column, rows)
  told = Cast <to: int = 9> (mask)
  told_columns = Unsqueeze (told, axes)
  visible = And (causal, told_columns)
  q_groups = Reshape (q_rotated, group_shape)
  key_groups = Unsqueeze (key, middle)
  value_groups = Unsqueeze (value, middle)
  key_columns = Transpose <perm: ints = [0, 1, 2, 4, 3]> (key_groups)
  products = MatMul (q_groups, key_columns)
  factor = CastLike (scale, products)
  floor = CastLike (lowest, products)
  scaled = Mul (products, factor)
  scores = Where (visible, scaled, floor)
  weights = Softmax <axis: int = -1> (scores)
  mixed = MatMul (weights, value_groups)
  rows_first = Transpose <perm: ints = [0, 3, 1, 2, 4]> (mixed)
  output = Reshape (rows_first, flat_shape)
}}
"""

_ROTATE = """
  {x}_parts = Constant <value_ints: ints = [{half}, {half}{rest}]> ()
  {x}_low, {x}_high{unrotated} = Split <axis: int = -1> ({x}_heads, {x}_parts)
  {x}_low_cos = Mul ({x}_low, cos)
  {x}_high_sin = Mul ({x}_high, sin)
  {x}_high_cos = Mul ({x}_high, cos)
  {x}_low_sin = Mul ({x}_low, sin)
  {x}_new_low = Sub ({x}_low_cos, {x}_high_sin)
  {x}_new_high = Add ({x}_high_cos, {x}_low_sin)
  {x}_rotated = Concat <axis: int = -1> ({x}_new_low, {x}_new_high{unrotated})
"""

_CONVOLUTION = """
<domain: "written_out", opset_import: ["": {opset}]>
{name} (x, weight, past) => (output, present) {{
  start = Constant <value_ints: ints = [-{state}]> ()
  end = Constant <value_ints: ints = [9223372036854775807]> ()
  axis = Constant <value_ints: ints = [2]> ()
  joined = Concat <axis: int = 2> (past, x)
  output = Conv <group: int = {channels}> (joined, weight)
  present = Slice (joined, start, end, axis)
}}
"""

_POSITIONS = """
positions (int64[b, s] input_ids, float[b, h, p, d] past) => (int64[o, s] positions) {
  one = Constant <value_int: int = 1> ()
  first = Constant <value_ints: ints = [0]> ()
  past_length = Shape <start: int = 2, end: int = 3> (past)
  new_length = Shape <start: int = 1, end: int = 2> (input_ids)
  length = Add (past_length, new_length)
  start = Squeeze (past_length)
  end = Squeeze (length)
  row = Range (start, end, one)
  positions = Unsqueeze (row, first)
}
"""


def with_written_out_attention(source: Path, target: Path) -> Path:
    """
    Replace GroupQueryAttention by plain operators.

    :raises ValueError: the states are quantized
    """
    def change(model: onnx.ModelProto) -> None:
        def call(node: onnx.NodeProto) -> list[onnx.NodeProto]:
            if 'k_quant_type' in attributes(node):
                raise ValueError('quantized states can not be written out')
            return _attention(model, node)
        replace_nodes(model.graph, 'GroupQueryAttention', call)
        _positions(model.graph)
        _inline(model)
    return edit(source, target, change)


def with_written_out_convolution(source: Path, target: Path) -> Path:
    """Replace CausalConvWithState by plain operators."""
    def change(model: onnx.ModelProto) -> None:
        shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}

        def call(node: onnx.NodeProto) -> list[onnx.NodeProto]:
            x, weight, _, past = node.input
            channels, _, width = shapes[weight]
            name = f'Convolution{len(model.functions)}'
            model.functions.append(parser.parse_function(_CONVOLUTION.format(
                name=name, opset=_opset(model), channels=channels,
                state=width - 1)))
            return [helper.make_node(name, [x, weight, past], node.output, domain=DOMAIN)]
        replace_nodes(model.graph, 'CausalConvWithState', call)
        _inline(model)
    return edit(source, target, change)


def _attention(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return nodes that compute what the GroupQueryAttention `node` does."""
    values = attributes(node)
    heads, kv_heads = values['num_heads'], values['kv_num_heads']
    size, rotated = head_size(node), rotated_size(model.graph, node)
    nodes, inputs = [], list(node.input)
    if not inputs[1]:
        inputs[:3] = [f'{node.name}/{part}' for part in ('query', 'key', 'value')]
        widths = f'{node.name}/widths'
        nodes = [
            helper.make_node(
                'Constant', [], [widths],
                value_ints=[heads * size, kv_heads * size, kv_heads * size]),
            helper.make_node('Split', [node.input[0], widths], inputs[:3], axis=-1)]
    part = {'half': rotated // 2, 'rest': '', 'unrotated': ''}
    name = f'Attention{len(model.functions)}'
    texts = {}
    for x in 'qk':
        if rotated < size:
            part.update(rest=f', {size - rotated}', unrotated=f', {x}_unrotated')
        texts[f'rotate_{x}'] = _ROTATE.format(x=x, **part)
    model.functions.append(parser.parse_function(_ATTENTION.format(
        name=name, opset=_opset(model), heads=heads, kv_heads=kv_heads,
        group=heads // kv_heads, size=size, width=heads * size, scale=values['scale'], **texts)))
    return nodes + [helper.make_node(
        name, [*inputs[:5], 'attention_mask', 'written_out/positions', *inputs[7:9]],
        node.output, domain=DOMAIN)]


def _positions(graph: onnx.GraphProto) -> None:
    """Compute `written_out/positions` [1, sequence_length] from the lengths of the inputs."""
    past = next(item.name for item in graph.input if item.name.endswith('.key'))
    nodes = list(parser.parse_graph(_POSITIONS).node)
    for node in nodes:
        names = {'past': past, 'input_ids': 'input_ids'}
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                field[index] = names.get(name, f'written_out/{name}')
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + rest)


def _opset(model: onnx.ModelProto) -> int:
    """Return the version of plain ONNX; a function of another version is not inlined."""
    return next(entry.version for entry in model.opset_import if entry.domain == '')


def _inline(model: onnx.ModelProto) -> None:
    """Replace the calls of model-local functions by their bodies."""
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    model.CopyFrom(inliner.inline_local_functions(model))
    kept = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
