# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read the weights of an exported demo model back, so that training can go on from them."""

from pathlib import Path
import re

from model import make_model
import numpy as np
import onnx
from onnx import numpy_helper
import torch
from transformers import Lfm2VlForConditionalGeneration
from vision import make_vision_model

# Names of the graph and of transformers; a matrix of 8 bits has a suffix in the graph.
DECODER_NAMES = (
    ('.MatMul.weight_Q8', '.weight'), ('.final_norm_layernorm.', '.embedding_norm.'),
    ('.operator_layernorm.', '.operator_norm.'), ('.ffn_layernorm.', '.ffn_norm.'),
    ('.attn.q_norm.layernorm.', '.self_attn.q_layernorm.'),
    ('.attn.k_norm.layernorm.', '.self_attn.k_layernorm.'), ('.attn.', '.self_attn.'),
    ('.o_proj.', '.out_proj.'), ('.mlp.gate_proj.', '.feed_forward.w1.'),
    ('.mlp.up_proj.', '.feed_forward.w3.'), ('.mlp.down_proj.', '.feed_forward.w2.'))
TOWER, PROJECTOR = 'model.vision_tower.', 'model.multi_modal_projector.'


def restore(folder: Path) -> Lfm2VlForConditionalGeneration:
    """
    Return the model of an exported folder, with what is left of its weights.

    The matrices of the decoder come back from 8 bits, the other ones from float16. A weight that
    no graph holds, or one with another shape, is an error.
    """
    table = _initializers(onnx.load(folder / 'embeddings.onnx'))['table']
    weights = {'model.language_model.embed_tokens.weight': table, 'lm_head.weight': table,
               **_decoder(onnx.load(folder / 'model.onnx')),
               **_eye(onnx.load(folder / 'vision_encoder.onnx'))}
    model = make_vision_model(make_model(len(table)))
    model.load_state_dict({name: torch.from_numpy(value.astype(np.float32))
                           for name, value in weights.items()})
    return model


def _decoder(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    stored = _initializers(model)
    attention = next(node for node in model.graph.node if node.op_type == 'GroupQueryAttention')
    numbers = {attribute.name: attribute.i for attribute in attention.attribute}
    heads, kv_heads = numbers['num_heads'], numbers['kv_num_heads']
    weights = {}
    for name, value in stored.items():
        if not name.startswith('model.') or name.endswith('_scales'):
            continue
        if name.endswith('_Q8'):
            value = _unpack(value, stored[name.replace('_Q8', '_scales')])
        name = name.replace('model.', 'model.language_model.', 1)
        if 'final_norm' in name:
            name = re.sub(r'\.layers\.\d+', '', name)
        for old, new in DECODER_NAMES:
            name = name.replace(old, new)
        if '.qkv_proj.' in name:
            size = len(value) // (heads + 2 * kv_heads)
            ends = [heads * size, (heads + kv_heads) * size]
            for letter, part in zip('qkv', np.split(value, ends)):
                weights[name.replace('.qkv_', f'.{letter}_')] = part
        else:
            weights[name] = value
    return weights


def _unpack(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return a matrix from blocks of bytes [rows, blocks, size], around 128, and their scales."""
    return ((values.astype(np.float32) - 128) * scales[..., None]).reshape(len(values), -1)


def _eye(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    stored = _initializers(model)
    weights = {_eye_name(name[len('eye.'):]): value for name, value in stored.items()
               if name.startswith('eye.')}
    # The exporter turns the matrices around and gives them numbers for names; what a product is
    # called still says whose it is.
    for node in model.graph.node:
        if node.op_type == 'MatMul' and node.input[1].startswith('onnx::'):
            owner = node.output[0].split('/MatMul')[0][len('/eye/'):].replace('/', '.')
            weights[_eye_name(f'{owner}.weight')] = stored[node.input[1]].T
    return weights


def _eye_name(name: str) -> str:
    if name.startswith(('tower.', 'projector.')):
        part, _, rest = name.partition('.')
    elif name.startswith('layers.'):
        part, rest = 'tower', f'encoder.{name}'
    elif name.startswith('patch_embedding.'):
        part, rest = 'tower', f'embeddings.{name}'
    else:
        part, rest = 'projector', name
    return (TOWER if part == 'tower' else PROJECTOR) + rest


def _initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the constants of a graph under the names they had before they were halved."""
    return {tensor.name.removesuffix('/half'): numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer}
