# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep keys and values in 8 bits: a quarter of the memory, and other numbers."""
from __future__ import annotations

from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.runtime.session import runtime_version
from lfm_ros.prepare.accuracy import Text
from lfm_ros.prepare.graph import ATTENTION
from lfm_ros.prepare.graph import attributes
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.reference import open_embed
from lfm_ros.prepare.reference import open_reference
import numpy as np
from onnx import helper
from onnx import TensorProto

_SINCE = (1, 27)
_MAX = 127
_MARGIN = 1.05  # other texts reach a little further than the one that was measured

_COS, _K_SCALE, _V_SCALE = 7, 12, 13
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)

Scales = dict[str, np.ndarray]


def calibrated(graph: Graph, folder: ModelFolder, text: Text) -> str:
    """
    Store keys and values in int8, with scales per channel that are measured on a text.

    :returns: why nothing was done; empty when something was.
    """
    reason = _reason(graph)
    return reason or store_in_int8(graph, measure(graph, folder, text))


def measure(graph: Graph, folder: ModelFolder, text: Text) -> Scales:
    """
    Run the model as it is on a text; return float32 ``[heads, head_dim]`` by name of the state.

    A key is rotated as its position grows, so what is in one channel of a pair comes to the other
    one: both get the length of the pair.
    """
    reference = open_reference(folder.graph, folder, embed=open_embed(folder))
    for chunk in text.chunks(text.seen):
        reference.read(chunk)
    found = {}
    for node in graph.of_type(ATTENTION):
        for name, is_key in ((node.input[3], True), (node.input[4], False)):
            rows = np.abs(reference.state[name][0].astype(np.float32))
            most = rows.max(axis=1)
            if is_key:
                most = np.maximum(most, _turned(graph, node, rows).max(axis=1))
            floor = max(float(most.max()) * 1e-4, 1e-6)  # a channel that was 0 may not stay so
            found[name] = np.maximum(most, floor) * np.float32(_MARGIN / _MAX)
    return found


def _turned(graph: Graph, node: Any, rows: np.ndarray) -> np.ndarray:
    """Return the largest size that each channel of keys can have at another position."""
    width = rows.shape[-1]
    table = graph.initializer(node.input[_COS]) if len(node.input) > _COS else None
    turned = min(2 * table.dims[1], width) if table is not None else width
    found = rows.copy()
    if attributes(node).get('rotary_interleaved', 0):
        one, other = slice(0, turned, 2), slice(1, turned, 2)
    else:
        one, other = slice(0, turned // 2), slice(turned // 2, turned)
    found[..., one] = found[..., other] = np.hypot(rows[..., one], rows[..., other])
    return found


def store_in_int8(graph: Graph, scales: Scales) -> str:
    """
    Let each attention keep keys and values in int8.

    :param scales: float32 ``[heads, head_dim]`` by name of the input.
    :returns: why nothing was done; empty when something was.
    """
    reason = _reason(graph)
    if reason:
        return reason
    inputs, outputs = graph.inputs, graph.outputs
    for node in graph.of_type(ATTENTION):
        node.input.extend([''] * (_V_SCALE + 1 - len(node.input)))
        for index, present, place in ((3, 1, _K_SCALE), (4, 2, _V_SCALE)):
            name = node.input[index]
            node.input[place] = graph.add_constant(f'{name}/scale', scales[name].reshape(-1),
                                                   np.float32)
            for item in (inputs[name], outputs[node.output[present]]):
                item.type.tensor_type.elem_type = TensorProto.INT8
                item.type.tensor_type.shape.dim[3].Clear()
                item.type.tensor_type.shape.dim[3].dim_value = scales[name].shape[1]
        for key, value in (('k_quant_type', 'PER_CHANNEL'), ('v_quant_type', 'PER_CHANNEL'),
                           ('kv_cache_bit_width', 8)):
            node.attribute.append(helper.make_attribute(key, value))
    graph.forget_shapes({o for n in graph.of_type(ATTENTION) for o in n.output[1:]})
    return ''


def _reason(graph: Graph) -> str:
    nodes = graph.of_type(ATTENTION)
    if not nodes or len(nodes) != len(graph.attention_layers):
        return 'its attention is not GroupQueryAttention'
    if runtime_version() < _SINCE:
        return 'ONNX Runtime has that since 1.27'
    for node in nodes:
        if len(node.input) > _K_SCALE and any(node.input[_K_SCALE:]) \
                or attributes(node).get('k_quant_type', b'NONE') not in (b'NONE', b''):
            return f'{node.name} is quantized, or normalizes keys itself'
        for name in node.input[3:5]:
            if name not in graph.inputs:
                return f'{node.name} is connected in another way than is known'
            if graph.inputs[name].type.tensor_type.elem_type not in _FLOATS:
                return f'{name} is not a floating point number'
    return ''
