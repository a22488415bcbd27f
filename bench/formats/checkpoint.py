# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint at a published shape, with random weights: they do not change the speed."""
from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
import shutil
from typing import Any

import random_vision_model
from random_vision_model import ATTENTION
from random_vision_model import ENDS
from safetensors import safe_open
import torch
import transformers

SEED = 1


@dataclass(frozen=True)
class Shape:
    """
    What a published model is like.

    :param parameters: of all its matrices; the embedding, which is the head as well, once.
    """

    kind: str
    parameters: int
    settings: dict[str, Any]


def _lfm2(parameters: int, hidden: int, feed_forward: int, heads: int) -> Shape:
    return Shape('lfm2', parameters, {
        'vocab_size': 65536, 'hidden_size': hidden, 'intermediate_size': feed_forward,
        'num_hidden_layers': 16, 'num_attention_heads': heads, 'num_key_value_heads': 8,
        'layer_types': ['full_attention' if i in ATTENTION else 'conv' for i in range(16)],
        'conv_L_cache': 3, 'max_position_embeddings': 128000, 'tie_word_embeddings': True})


SHAPES = {
    '350m': _lfm2(354_483_968, 1024, 6656, 16),
    '700m': _lfm2(742_489_344, 1536, 10240, 24),
    '1.2b': _lfm2(1_170_340_608, 2048, 12288, 32),
    'qwen3': Shape('qwen3', 596_049_920, {
        'vocab_size': 151936, 'hidden_size': 1024, 'intermediate_size': 3072,
        'num_hidden_layers': 28, 'num_attention_heads': 16, 'num_key_value_heads': 8,
        'head_dim': 128, 'max_position_embeddings': 40960, 'rms_norm_eps': 1e-6,
        'rope_theta': 1_000_000.0, 'tie_word_embeddings': True}),
}


def make_checkpoint(shape: Shape, folder: Path) -> None:
    """Draw the weights in bfloat16, as they are published, and train a tokenizer."""
    torch.manual_seed(SEED)
    config = transformers.AutoConfig.for_model(shape.kind, **shape.settings, **ENDS)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    found = count_parameters(folder)
    if found != shape.parameters:
        raise RuntimeError(f'{found} parameters instead of {shape.parameters}')
    tokenizer = make_tokenizer(shape.settings['vocab_size'], folder.parent.parent)
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)


def make_tokenizer(size: int, shelf: Path) -> Path:
    """Return the folder of the tokenizer of this size, which is trained once."""
    folder = shelf / f'tokenizer-{size}'
    if not folder.exists():
        part = folder.with_suffix('.part')
        part.mkdir(exist_ok=True)
        random_vision_model.VOCABULARY = size
        random_vision_model.save_tokenizer(part)
        part.rename(folder)
    return folder


def count_parameters(folder: Path) -> int:
    """Return how many numbers the files of weights hold; tied matrices are in them once."""
    return sum(int(torch.Size(tensor.get_shape()).numel()) for _, tensor in slices(folder))


def slices(folder: Path) -> Any:
    """Go through the names and the readable slices of all weights."""
    for path in sorted(folder.glob('*.safetensors')):
        with safe_open(str(path), 'pt') as file:
            for name in file.keys():
                yield name, file.get_slice(name)


def read_config(folder: Path) -> dict[str, Any]:
    """Return what config.json says."""
    return dict(json.loads((folder / 'config.json').read_text()))
