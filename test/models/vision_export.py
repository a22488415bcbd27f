# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Graphs of the vision encoder and of the embedding of ids, from an LFM2-VL model of transformers.

The vision encoder takes one picture or tile per call, cut into patches:

    pixel_values          float32 [1, patches, 768]  pixels of a patch, row by row, colours last
    pixel_attention_mask  int64 [1, patches]         1 for a patch, 0 for padding
    spatial_shapes        int64 [1, 2]               rows and columns of patches
    image_features        float32 [tokens, hidden]   one token for each 2 x 2 patches

Large weights lie in the files in fp16, which holds those of the fixtures without loss; the graphs
cast them to fp32 and compute in fp32.
"""

from pathlib import Path
from typing import Any
import warnings

import numpy
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto
import torch

LARGE = 64
OPSET = 18


class VisionEncoder(torch.nn.Module):
    """The tower and projector of `model`, written so that all sizes stay open when traced."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower = model.model.vision_tower
        self.projector = model.model.multi_modal_projector

    def forward(
            self, pixels: torch.Tensor, mask: torch.Tensor, shapes: torch.Tensor) -> torch.Tensor:
        """Return the features [tokens, hidden] of one picture."""
        rows, columns = shapes[0, 0], shapes[0, 1]
        hidden = self.tower.embeddings.patch_embedding(pixels)
        hidden = hidden + self._positions(torch.arange(pixels.shape[1]), rows, columns)
        bias = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float16).min
        for layer in self.tower.encoder.layers:
            hidden = hidden + _attention(layer.self_attn, layer.layer_norm1(hidden), bias)
            hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
        hidden = self.tower.post_layernorm(hidden)[0]
        return self._project(hidden, rows, columns)

    def _positions(
            self, index: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return what is added to the patches `index` of a picture of `rows` x `columns`."""
        table = self.tower.embeddings.position_embedding.weight
        side = self.tower.embeddings.position_embedding_size
        row, column = index // columns, index % columns
        down, across = _taps(row, rows, side), _taps(column, columns, side)
        return (down[:, :, None] * across[:, None, :]).flatten(1) @ table

    def _project(
            self, hidden: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return one token for each square of `factor` x `factor` patches."""
        factor = self.projector.factor
        across = columns // factor
        token = torch.arange((rows // factor) * across)
        corner = token // across * factor * columns + token % across * factor
        squares = torch.cat([
            hidden[corner + i * columns + j] for i in range(factor) for j in range(factor)], -1)
        if self.projector.use_layer_norm:
            squares = self.projector.layer_norm(squares)
        return self.projector.linear_2(self.projector.act(self.projector.linear_1(squares)))


def _taps(place: torch.Tensor, size: torch.Tensor, side: int) -> torch.Tensor:
    """
    Return weights [places, side] that resize a table of `side` entries to `size` entries.

    This is torch's bilinear interpolation with antialias: a triangle as wide as one new entry, but
    never narrower than an old one. A place beyond the table stands for padding.
    """
    scale = side / size.float()
    width = torch.clamp(scale, min=1.0)
    centre = (torch.minimum(place, size - 1).float() + 0.5) * scale
    first = torch.floor(torch.clamp(centre - width + 0.5, min=0.0))[:, None]
    last = torch.floor(torch.clamp(centre + width + 0.5, max=float(side)))[:, None]
    entry = torch.arange(side).float()[None]
    weights = torch.clamp(1.0 - torch.abs(entry + 0.5 - centre[:, None]) / width, min=0.0)
    weights = weights * (entry >= first).float() * (entry < last).float()
    return weights / weights.sum(1, keepdim=True)


def _attention(module: Any, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the attention of all patches to all that are not padding."""
    query, key, value = (
        project(hidden).view(1, -1, module.num_heads, module.head_dim).transpose(1, 2)
        for project in (module.q_proj, module.k_proj, module.v_proj))
    weights = torch.softmax(query @ key.transpose(-1, -2) * module.scale + bias, -1)
    return module.out_proj((weights @ value).transpose(1, 2).flatten(2))


def export_vision(
        model: Any, path: Path, signature: tuple[str, str, str], patches: int | None) -> None:
    """
    Write the vision encoder of `model`.

    :param signature: names of the three inputs
    :param patches: the number of patches of each call, or None for any number
    """
    encoder = VisionEncoder(model).eval()
    count = patches or 24
    width = encoder.tower.embeddings.patch_embedding.in_features
    dynamic = {name: {1: 'num_patches'} for name in signature[:2]}
    example = (
        torch.zeros(1, count, width), torch.ones(1, count, dtype=torch.int64),
        torch.tensor([[4, 6]]))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            encoder, example, str(path), input_names=list(signature),
            output_names=['image_features'], opset_version=OPSET, dynamo=False,
            dynamic_axes={
                **({} if patches else dynamic), 'image_features': {0: 'num_image_tokens'}})
    graph = onnx.load(str(path))
    shorten_names(graph.graph)
    store_in_half(graph.graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def export_embedding(table: numpy.ndarray, image_id: int | None, path: Path) -> None:
    """
    Write the graph that turns ids into vectors.

    :param table: the vectors, float32 [vocabulary, hidden]
    :param image_id: id whose vectors are replaced by the rows of a second input `image_features`,
        in their order; None leaves that input out
    """
    hidden = table.shape[1]
    batch = ['batch_size', 'sequence_length']
    inputs = [helper.make_tensor_value_info('input_ids', TensorProto.INT64, batch)]
    tensors = [numpy_helper.from_array(table, 'embed_tokens.weight')]
    looked_up = 'inputs_embeds' if image_id is None else 'words'
    nodes = [helper.make_node('Gather', ['embed_tokens.weight', 'input_ids'], [looked_up])]
    if image_id is not None:
        inputs.append(helper.make_tensor_value_info(
            'image_features', TensorProto.FLOAT, ['num_image_tokens', hidden]))
        tensors.append(numpy_helper.from_array(numpy.array(image_id, numpy.int64), 'image_id'))
        nodes += [
            helper.make_node('Equal', ['input_ids', 'image_id'], ['is_image']),
            helper.make_node('NonZero', ['is_image'], ['coordinates']),
            helper.make_node('Transpose', ['coordinates'], ['places'], perm=[1, 0]),
            helper.make_node(
                'ScatterND', [looked_up, 'places', 'image_features'], ['inputs_embeds'])]
    output = helper.make_tensor_value_info('inputs_embeds', TensorProto.FLOAT, [*batch, hidden])
    graph = helper.make_graph(nodes, 'embeddings', inputs, [output], tensors)
    store_in_half(graph)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def shorten_names(graph: onnx.GraphProto) -> None:
    """Drop what only a reader of the graph would need: names of nodes and of what they pass on."""
    kept = {item.name for item in [*graph.input, *graph.output, *graph.initializer]}
    short = {name: name for name in kept | {''}}
    for node in graph.node:
        node.ClearField('name')
        for names in (node.input, node.output):
            names[:] = [short.setdefault(name, f'v{len(short)}') for name in names]
    del graph.value_info[:]


def store_in_half(graph: onnx.GraphProto) -> None:
    """Store large weights in fp16 and cast them to fp32, where fp16 holds them without loss."""
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != numpy.float32 or values.size < LARGE:
            continue
        half = values.astype(numpy.float16)
        if not numpy.array_equal(half.astype(numpy.float32), values):
            raise ValueError(f'fp16 does not hold {tensor.name}')
        name, stored = tensor.name, f'{tensor.name}/fp16'
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node('Cast', [stored], [name], to=TensorProto.FLOAT))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *rest])
