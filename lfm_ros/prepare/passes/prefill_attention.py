# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Read long chunks over keys and values in 8 bits as fast as over floating point numbers.

Attention over an int8 history (ONNX Runtime 1.31) is good for one token and runs at half speed
for many. So there is a second way for long runs: convert the history to floating point numbers,
attend, and give out the new rows in int8, to be put behind the history.
"""
from __future__ import annotations

from collections.abc import Sequence
import re
from typing import Any

from lfm_ros.engine.runtime.signature import BATCH
from lfm_ros.engine.runtime.signature import PREFILL_ATTENTION
from lfm_ros.engine.runtime.signature import ROWS
from lfm_ros.prepare.graph import ATTENTION
from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import branch
from lfm_ros.prepare.graph import branches
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import MICROSOFT
from lfm_ros.prepare.graph import TO_THE_END
import numpy as np
from onnx import helper
from onnx import TensorProto


_LAYER = re.compile(r'past_key_values\.(\d+)\.key')
_QUANTIZED = ('k_quant_type', 'v_quant_type', 'kv_cache_bit_width')
_PAST, _TOTAL, _K_SCALE = 3, 6, 12


def add_prefill_attention(graph: Graph) -> str:
    """
    Add the second way, also to a graph with batches (which decode and never take it).

    New input ``long`` bool ``[]``; new outputs ``rows.{layer}.key`` and ``.value`` int8
    ``[1, heads, S, head_dim]``. Where ``long`` is set, the presents are the pasts as they came,
    and the rows must be written behind them; else the rows are empty, S is 0.

    :returns: why nothing was done; empty when something was.
    """
    found = list(_attentions(graph))
    reason = _reason(graph, [inner for _, inner in found])
    if reason:
        return reason
    graph.add_input(PREFILL_ATTENTION, TensorProto.BOOL, [])
    for outer, node in found:
        layer = _layer(node)
        names = [f'{ROWS}{layer}.key', f'{ROWS}{layer}.value']
        if outer is None:
            graph.replace(node, [_choice(graph, node, node.output[:3], names)])
        else:
            _inside(graph, outer, node, names)
        for name, past in zip(names, node.input[_PAST:_PAST + 2]):
            dims = graph.inputs[past].type.tensor_type.shape.dim
            graph.add_output(name, TensorProto.INT8, [1, dims[1].dim_value, f'{name}/rows',
                                                      dims[3].dim_value])
    return ''


def _reason(graph: Graph, nodes: Sequence[Any]) -> str:
    if PREFILL_ATTENTION in graph.inputs:
        return 'the graph has its second way'
    if not nodes or len(nodes) != len(graph.attention_layers):
        return 'its attention is not GroupQueryAttention'
    for node in nodes:
        scales = node.input[_K_SCALE:_K_SCALE + 2]
        if len(scales) < 2 or any(graph.constant(s) is None for s in scales) \
                or attributes(node).get('kv_cache_bit_width') != 8:
            return 'keys and values are not kept in 8 bits, or by scales in a file'
        for name in node.input[_PAST:_PAST + 2]:
            dims = graph.inputs[name].type.tensor_type.shape.dim
            if not dims[1].dim_value or not dims[3].dim_value:
                return f'the size of {name} is open'
    return ''


def _attentions(graph: Graph) -> Any:
    """Yield the attentions of one mission, with the If around them in a graph with batches."""
    for node in graph.nodes:
        if node.op_type == ATTENTION:
            yield None, node
        elif node.op_type == 'If' and list(node.input) == [BATCH]:
            alone = next(g for g in branches(node) if g.name == 'alone')
            yield node, next(n for n in alone.node if n.op_type == ATTENTION)


def _layer(node: Any) -> int:
    match = _LAYER.fullmatch(node.input[_PAST])
    assert match, 'company leaves the names of the first row as they are'
    return int(match[1])


def _inside(graph: Graph, outer: Any, node: Any, names: list[str]) -> None:
    """Make the choice for one mission; in a batch the rows are empty."""
    for inner in branches(outer):
        own = [f'{outer.name}/{inner.name}/{name}' for name in names]
        if inner.name == 'alone':
            choice = _choice(graph, node, node.output[:3], own)
            rest = [n for n in inner.node if n is not node and n != node]
            del inner.node[:]
            inner.node.extend([choice, *rest])
        else:
            inner.node.extend(helper.make_node('Identity', [_empty(graph, past)], [name])
                              for past, name in zip(node.input[_PAST:_PAST + 2], own))
        inner.output.extend(branch('', [], own).output)
    outer.output.extend(names)


def _choice(graph: Graph, node: Any, outputs: Sequence[str], rows: Sequence[str]) -> Any:
    """Return the If that takes the place of an attention."""
    prefix = f'{node.name}/long'
    ends = [f'{prefix}/short/{i}' for i in range(5)]
    short = type(node)()
    short.CopyFrom(node)
    short.name = f'{node.name}/short'
    del short.output[:]
    short.output.extend(ends[:3])
    nodes = [short, *(helper.make_node('Identity', [_empty(graph, past)], [end])
                      for past, end in zip(node.input[_PAST:_PAST + 2], ends[3:]))]
    return helper.make_node('If', [PREFILL_ATTENTION], [*outputs, *rows], prefix,
                            then_branch=_long(graph, node, prefix),
                            else_branch=branch('short', nodes, ends))


def _empty(graph: Graph, past: str) -> str:
    dims = graph.inputs[past].type.tensor_type.shape.dim
    shape = (1, dims[1].dim_value, 0, dims[3].dim_value)
    return graph.add_constant(f'rows/empty/{shape[1]}x{shape[3]}', np.zeros(shape), np.int8)


def _long(graph: Graph, node: Any, prefix: str) -> Any:
    """Return the branch that attends to floating point numbers."""
    zero, one, two = (graph.add_constant(f'long/{n}', [n]) for n in range(3))
    end = graph.add_constant('long/end', [TO_THE_END])
    make, at = helper.make_node, f'{prefix}/at'
    nodes = [
        make('Shape', [node.input[0]], [f'{prefix}/count'], start=1, end=2),
        make('Cast', [node.input[_TOTAL]], [f'{prefix}/total'], to=TensorProto.INT64),
        make('Reshape', [f'{prefix}/total', one], [f'{prefix}/end']),
        make('Sub', [f'{prefix}/end', f'{prefix}/count'], [at])]
    ends = [f'{prefix}/{part}' for part in ('output', 'key', 'value', 'new_key', 'new_value')]
    inputs = list(node.input[:_K_SCALE])
    grown = [f'{prefix}/all_keys', f'{prefix}/all_values']
    after = []
    for index in (0, 1):
        past, own = node.input[_PAST + index], f'{prefix}/{index}'
        scale = _scale(graph, node.input[_K_SCALE + index], past)
        nodes += [
            make('Slice', [past, zero, at, two], [f'{own}/valid']),
            make('CastLike', [f'{own}/valid', node.input[0]], [f'{own}/cast']),
            make('CastLike', [scale, node.input[0]], [f'{own}/scale']),
            make('Mul', [f'{own}/cast', f'{own}/scale'], [f'{own}/past'])]
        inputs[_PAST + index] = f'{own}/past'
        after += [
            make('Slice', [grown[index], at, end, two], [f'{own}/new']),
            make('Cast', [f'{own}/new'], [f'{own}/float'], to=TensorProto.FLOAT),
            make('Div', [f'{own}/float', scale], [f'{own}/steps']),
            make('Round', [f'{own}/steps'], [f'{own}/rounded']),
            make('Clip', [f'{own}/rounded', graph.add_constant('long/low', -128, np.float32),
                          graph.add_constant('long/high', 127, np.float32)], [f'{own}/clipped']),
            make('Cast', [f'{own}/clipped'], [ends[3 + index]], to=TensorProto.INT8),
            make('Identity', [past], [ends[1 + index]])]
    kept = {k: v for k, v in attributes(node).items() if k not in _QUANTIZED}
    attention = make(ATTENTION, inputs, [ends[0], *grown], f'{prefix}/attention',
                     domain=MICROSOFT, **kept)
    return branch(PREFILL_ATTENTION, [*nodes, attention, *after], ends)


def _scale(graph: Graph, name: str, past: str) -> str:
    """Return scales in a shape that fits ``[1, heads, rows, head_dim]``."""
    values = graph.constant(name)
    assert values is not None
    dims = graph.inputs[past].type.tensor_type.shape.dim
    if values.size == 1:
        return graph.add_constant(f'{name}/each', values.reshape(1, 1, 1, 1), np.float32)
    shape = (1, dims[1].dim_value, 1, dims[3].dim_value)
    return graph.add_constant(f'{name}/each', values.reshape(shape), np.float32)
