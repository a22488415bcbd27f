# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A GGUF file for llama.cpp, by the gguf package and llama.cpp's own quantizer."""
from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
from typing import Any

from formats.checkpoint import read_config
from formats.checkpoint import slices
import gguf
import numpy as np
import torch

FORMATS = ('q4_0', 'q4_k_m')
_TOKENIZERS = {'lfm2': 'lfm2', 'qwen3': 'qwen2'}


def write_gguf(checkpoint: Path, path: Path) -> None:
    """Write all matrices in fp16, as the quantizer reads them."""
    config = read_config(checkpoint)
    kind = config['model_type']
    arch = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[kind]
    names = gguf.get_tensor_name_map(arch, config['num_hidden_layers'])
    writer = gguf.GGUFWriter(path, kind)
    _add_settings(writer, config)
    _add_tokenizer(writer, config, json.loads((checkpoint / 'tokenizer.json').read_text()))
    for name, tensor in slices(checkpoint):
        target = names.get_name(name, ('.weight',))
        if target is None:
            raise RuntimeError(f'llama.cpp has no name for {name}')
        values = tensor[:].to(torch.float32).numpy()
        small = values.ndim == 1 or 'shortconv.conv' in target
        if values.ndim == 3:
            values = values.squeeze(1)
        writer.add_tensor(target, values if small else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_settings(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    kinds = config.get('layer_types') or []
    heads = [config['num_key_value_heads'] if kind != 'conv' else 0 for kind in kinds]
    feed_forward = config['intermediate_size']
    if config.get('block_auto_adjust_ff_dim'):
        feed_forward = 256 * -(-int(2 * feed_forward / 3) // 256)
    if config.get('conv_L_cache'):
        writer.add_head_count_kv(heads)
        writer.add_shortconv_l_cache(config['conv_L_cache'])
    else:
        writer.add_head_count_kv(config['num_key_value_heads'])
        writer.add_key_length(config['head_dim'])
        writer.add_value_length(config['head_dim'])
    writer.add_block_count(config['num_hidden_layers'])
    writer.add_context_length(config['max_position_embeddings'])
    writer.add_embedding_length(config['hidden_size'])
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(config['num_attention_heads'])
    writer.add_rope_freq_base(config['rope_parameters']['rope_theta'])
    writer.add_layer_norm_rms_eps(config.get('norm_eps') or config['rms_norm_eps'])
    writer.add_vocab_size(config['vocab_size'])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_tokenizer(writer: gguf.GGUFWriter, config: dict[str, Any],
                   tokenizer: dict[str, Any]) -> None:
    tokens = [f'<unused{i}>' for i in range(config['vocab_size'])]
    for token, place in tokenizer['model']['vocab'].items():
        tokens[place] = token
    special = set()
    for token in tokenizer['added_tokens']:
        tokens[token['id']] = token['content']
        special.add(token['id'])
    kinds = [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL
             for i in range(len(tokens))]
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre(_TOKENIZERS[config['model_type']])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([' '.join(m) if isinstance(m, list) else m
                             for m in tokenizer['model']['merges']])
    writer.add_bos_token_id(config['bos_token_id'])
    writer.add_eos_token_id(config['eos_token_id'])
    writer.add_pad_token_id(config['pad_token_id'])


def quantize(source: Path, target: Path, kind: str) -> None:
    """Have llama.cpp make the file smaller."""
    import llama_cpp  # it has to be compiled; the other formats do without

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f'LLAMA_FTYPE_MOSTLY_{kind.upper()}')
    params.nthread = 2
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params):
        raise RuntimeError(f'llama.cpp does not make {target}')


def weigh_gguf(path: Path) -> dict[str, Any]:
    """Return the bytes of all weights and the types of the matrices."""
    tensors = gguf.GGUFReader(path).tensors
    matrices = Counter(t.tensor_type.name for t in tensors if len(t.shape) > 1)
    head = next(t for t in tensors if t.name == 'token_embd.weight')
    if any(t.name == 'output.weight' for t in tensors):
        raise RuntimeError(f'{path}: the head is written a second time')
    return {'weight_bytes': int(sum(t.n_bytes for t in tensors)), 'matrices': dict(matrices),
            'head': head.tensor_type.name}
