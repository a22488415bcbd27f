# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write the two graphs that turn pictures and tokens into the embeddings that a decoder takes."""

from pathlib import Path
import warnings

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
from pictures import PATCH_VALUES
import torch
from torch import nn
from transformers import Lfm2VlForConditionalGeneration
from vision import Eye, IMAGE_TOKEN

OPSET = 18


class _SingleImage(nn.Module):
    """One image per call, and only the features that count."""

    def __init__(self, model: Lfm2VlForConditionalGeneration) -> None:
        super().__init__()
        self.eye = Eye(model)

    def forward(self, pixel_values: torch.Tensor, attention_mask: torch.Tensor,
                image_sizes: torch.Tensor) -> torch.Tensor:
        features = self.eye(pixel_values, attention_mask, image_sizes)[0]
        return features[:image_sizes[0, 0] * image_sizes[0, 1] // self.eye.projector.factor ** 2]


def export_vision_encoder(model: Lfm2VlForConditionalGeneration, file: Path) -> None:
    """
    Write the tower and the projector, with float16 weights.

    Inputs: pixel_values float [1, num_patches, 768], attention_mask int64 [1, num_patches] and
    image_sizes int64 [1, 2], rows and columns of patches. Output: image_features float
    [num_image_tokens, hidden].
    """
    patches = 192
    example = (torch.rand(1, patches, PATCH_VALUES), torch.ones(1, patches, dtype=torch.int64),
               torch.tensor([[12, 16]]))
    model.set_attn_implementation('eager')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            _SingleImage(model).eval(), example, str(file), dynamo=False, opset_version=OPSET,
            input_names=['pixel_values', 'attention_mask', 'image_sizes'],
            output_names=['image_features'], dynamic_axes={
                'pixel_values': {1: 'num_patches'}, 'attention_mask': {1: 'num_patches'},
                'image_features': {0: 'num_image_tokens'}})
    graph = onnx.load(file)
    halve_weights(graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, file)


def export_embeddings(model: Lfm2VlForConditionalGeneration, file: Path) -> None:
    """
    Write the table of token embeddings, with the image features at the image tokens.

    Inputs: input_ids int64 [batch, sequence] and image_features float [num_image_tokens, hidden],
    none if there is no image. Output: inputs_embeds float [batch, sequence, hidden].
    """
    table = model.get_input_embeddings().weight.detach().numpy()
    hidden = table.shape[1]
    constants = {'table': table, 'image_token': np.array(IMAGE_TOKEN, np.int64)}
    nodes = [
        helper.make_node('Gather', ['table', 'input_ids'], ['embedded']),
        helper.make_node('Equal', ['input_ids', 'image_token'], ['is_image']),
        helper.make_node('NonZero', ['is_image'], ['where']),
        helper.make_node('Transpose', ['where'], ['places'], perm=[1, 0]),
        helper.make_node('ScatterND', ['embedded', 'places', 'image_features'],
                         ['inputs_embeds'])]
    ids, features, embeds = (
        helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in (
            ('input_ids', TensorProto.INT64, ['batch_size', 'sequence_length']),
            ('image_features', TensorProto.FLOAT, ['num_image_tokens', hidden]),
            ('inputs_embeds', TensorProto.FLOAT, ['batch_size', 'sequence_length', hidden])))
    graph = helper.make_model(
        helper.make_graph(nodes, 'embeddings', [ids, features], [embeds], [
            numpy_helper.from_array(value, name) for name, value in constants.items()]),
        opset_imports=[helper.make_opsetid('', OPSET)], ir_version=8)
    halve_weights(graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, file)


def halve_weights(model: onnx.ModelProto) -> None:
    """Keep the float matrices of a graph as float16, with a Cast behind each."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor).astype(np.float16)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values, f'{name}/half'))
        casts.append(helper.make_node('Cast', [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
