# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fixture models: what each one is, without saying how it is made."""

from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

VOCABULARY = 320
CONTEXT = 512
ALL_CHUNKS = (48, 7, 1)

_IDS = {'bos_token_id': 1, 'eos_token_id': 7, 'pad_token_id': 0}
_SMALL = {
    'vocab_size': VOCABULARY, 'hidden_size': 32, 'intermediate_size': 32,
    'max_position_embeddings': CONTEXT, **_IDS}

_LFM2 = {
    **_SMALL, 'num_attention_heads': 2, 'num_key_value_heads': 1,
    'num_hidden_layers': 5,
    'layer_types': ['conv', 'full_attention', 'conv', 'full_attention', 'conv'],
    'block_auto_adjust_ff_dim': False, 'conv_L_cache': 3,
    'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6}}

_LFM2_ODD = {
    **_LFM2, 'hidden_size': 48, 'num_attention_heads': 6, 'num_key_value_heads': 3, 'head_dim': 16,
    'intermediate_size': 24, 'num_hidden_layers': 4,
    'layer_types': ['full_attention', 'conv', 'full_attention', 'conv'],
    'conv_L_cache': 4, 'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e7}}

_LFM2_THREE_HEADS = {
    **{k: v for k, v in _LFM2_ODD.items() if k != 'head_dim'},
    'num_attention_heads': 3, 'num_key_value_heads': 1, 'conv_L_cache': 5}

_LFM2_MOE = {
    **_SMALL, 'num_attention_heads': 2, 'num_key_value_heads': 1, 'num_hidden_layers': 4,
    'layer_types': ['conv', 'full_attention', 'conv', 'full_attention'],
    'moe_intermediate_size': 16, 'num_dense_layers': 1, 'num_experts': 4,
    'num_experts_per_tok': 2, 'use_expert_bias': True, 'norm_topk_prob': True,
    'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6}}

_QWEN3 = {
    **_SMALL, 'vocab_size': VOCABULARY + 16, 'num_attention_heads': 4, 'num_key_value_heads': 2,
    'head_dim': 16, 'num_hidden_layers': 3, 'tie_word_embeddings': True,
    'bos_token_id': 313, 'eos_token_id': 315, 'pad_token_id': 313,
    'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6}}

_LLAMA = {
    **_SMALL, 'num_attention_heads': 2, 'num_key_value_heads': 1, 'head_dim': 16,
    'num_hidden_layers': 3, 'tie_word_embeddings': True,
    'bos_token_id': 312, 'eos_token_id': [313, 317, 318], 'pad_token_id': 314,
    'rope_parameters': {
        'rope_type': 'llama3', 'rope_theta': 5e5, 'factor': 8.0, 'low_freq_factor': 1.0,
        'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}}

_PHI = {
    **_SMALL, 'vocab_size': 288, 'hidden_size': 64, 'num_attention_heads': 2,
    'num_key_value_heads': 1, 'num_hidden_layers': 2, 'tie_word_embeddings': True,
    'bos_token_id': 283, 'eos_token_id': [283, 287], 'pad_token_id': 283,
    'original_max_position_embeddings': 256, 'partial_rotary_factor': 0.5,
    'rope_parameters': {
        'rope_type': 'longrope', 'type': 'longrope', 'rope_theta': 1e4,
        'partial_rotary_factor': 0.5, 'original_max_position_embeddings': 256,
        'short_factor': [1.0] * 8, 'long_factor': [1.0, 1.1, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0]}}


@dataclass(frozen=True)
class Recipe:
    """
    One fixture.

    :param name: name of the folder and of the golden file
    :param what: one line for the table in README.md
    :param family: `model_type` of transformers
    :param config: arguments of the transformers config class
    :param style: tokenizer and chat template, one of `fixture_tokenizer.STYLES`
    :param seed: seed of the weights and of the golden ids
    :param precision: `-p` of the builder
    :param target: `-e` of the builder
    :param options: `--extra_options` of the builder
    :param builder: the onnxruntime-genai series that makes it
    :param tolerance: largest allowed difference of a log-probability from the golden one
    :param chunks: lengths of calls that the graph accepts on a CPU; none if it needs a GPU
    :param memory_reuse: whether ONNX Runtime may run it with `enable_mem_reuse` on
    """

    name: str
    what: str
    family: str
    config: dict[str, Any]
    seed: int = 1
    style: str = 'lfm2'
    precision: str = 'fp32'
    target: str = 'cpu'
    options: dict[str, str] = field(default_factory=dict)
    builder: str = '0.18'
    tolerance: float = 1e-4
    chunks: tuple[int, ...] = ALL_CHUNKS
    memory_reuse: bool = True

    @property
    def folder(self) -> Path:
        """Return the folder of the fixture; what can not do all calls on a CPU lies apart."""
        models = Path(__file__).parent
        return (models if self.chunks == ALL_CHUNKS else models / 'difficult') / self.name

    @property
    def onnxruntime(self) -> tuple[int, int]:
        """Return the first version of ONNX Runtime that opens the graph."""
        return (1, 29) if self.family.startswith('lfm2') and not self.older else (1, 23)

    @property
    def older(self) -> bool:
        """Return whether the folder is laid out as in the first published exports."""
        return self.builder == '0.14'

    @property
    def head_size(self) -> int:
        """Return the width of one key or value vector."""
        heads = self.config['num_attention_heads']
        return self.config.get('head_dim', self.config['hidden_size'] // heads)

    @property
    def tokens(self) -> int:
        """Return the number of entries of the tokenizer."""
        return min(VOCABULARY, self.config['vocab_size'])

    @property
    def first_id(self) -> int:
        """Return the lowest id of a byte; the 256 bytes follow one another."""
        return 16 if self.family.startswith('lfm2') else 0

    @property
    def special_ids(self) -> set[int]:
        """Return the ids which a greedy continuation should not meet, as a reply may end there."""
        low, high = self.first_id, self.tokens if self.first_id else self.tokens - 8
        return set(range(self.config['vocab_size'])) - set(range(low, high))


RECIPES = (
    Recipe('lfm2', 'LFM2, states `past.N.conv` of 2 columns', 'lfm2', _LFM2),
    Recipe(
        'lfm2-odd', 'LFM2, 6/3 heads of 16, hidden 48, kernel 4, attention first',
        'lfm2', _LFM2_ODD, seed=3, style='lfm2.5'),
    Recipe(
        'lfm2-past-conv', 'LFM2 (weights of `lfm2`), states `past_conv.N` of 3 columns',
        'lfm2', _LFM2, builder='0.14'),
    Recipe(
        'lfm2-past-conv-odd', 'LFM2, 3/1 heads, hidden 48, kernel 5, attention first',
        'lfm2', _LFM2_THREE_HEADS, seed=15, builder='0.14'),
    Recipe(
        'lfm2-moe', 'LFM2-MoE, 4 experts of which 2 per token, first layer dense',
        'lfm2_moe', _LFM2_MOE, seed=3),
    Recipe(
        'qwen3', 'Qwen3, 4/2 heads of 16, 16 more logits than tokens, key and value states only',
        'qwen3', _QWEN3, seed=5, style='qwen3'),
    Recipe(
        'llama', 'Llama 3.2, its rope scaling, three stop ids, key and value states only',
        'llama', _LLAMA, seed=3, style='llama'),
    Recipe(
        'phi', 'Phi-4-mini, half of each head rotated, two rope tables, key and value states only',
        'phi3', _PHI, seed=10, style='phi'),
    Recipe(
        'lfm2-int4', 'weights of `lfm2` in int4, activations in int8 (the default)',
        'lfm2', _LFM2, precision='int4', tolerance=1.0),
    Recipe(
        'lfm2-int4-exact', 'weights of `lfm2` in int4, activations in fp32',
        'lfm2', _LFM2, precision='int4', options={'accuracy_level': '0'}),
    Recipe(
        'lfm2-int8', 'weights of `lfm2` in int8, activations in int8 (the default)',
        'lfm2', _LFM2, precision='int8', tolerance=1.0),
    Recipe(
        'lfm2-int8-state', '`lfm2` with keys and values stored in int8',
        'lfm2', _LFM2, options={'kv_cache_quant_scheme': 'int8_per_tensor'}, tolerance=0.2),
    Recipe(
        'lfm2-fp16', '`lfm2` in fp16 with GroupQueryAttention',
        'lfm2', _LFM2, precision='fp16', target='cuda', options={'fuse_qk_norm_gqa': 'false'},
        tolerance=0.1),
    Recipe(
        'lfm2-past-conv-fp16', '`lfm2-past-conv` in fp16, as transformers.js runs it',
        'lfm2', _LFM2, precision='fp16', target='webgpu', builder='0.14', tolerance=0.1),
    Recipe(
        'lfm2-fp16-mha', '`lfm2` in fp16 as built for CPUs: MultiHeadAttention, `position_ids`, '
        'wrong notes of shapes (off: `enable_mem_reuse`), after the first call one id at a time',
        'lfm2', _LFM2, precision='fp16', tolerance=0.1, chunks=(48, 1), memory_reuse=False),
    Recipe(
        'lfm2-fp16-gpu', '`lfm2` in fp16 as built for GPUs: opens on a CPU, refuses to run there',
        'lfm2', _LFM2, precision='fp16', target='cuda', tolerance=0.1, chunks=()),
)
