# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Build the small LFM2 model, with kernels that train fast on a CPU."""

import torch
import torch.nn.functional as functional
from transformers import Lfm2Config, Lfm2ForCausalLM
from transformers.models.lfm2 import modeling_lfm2

LAYERS = {'c': 'conv', 'A': 'full_attention'}
# Sharp attention from the first step: with weights of 1 the model is slow to bind facts.
QUERY_KEY_NORM = 1.6


def make_model(vocabulary: int, pattern: str = 'cccAcAcAcA', hidden: int = 128,
               feed_forward: int = 288, heads: int = 4, kv_heads: int = 2) -> Lfm2ForCausalLM:
    """Return a fresh Lfm2ForCausalLM; pattern holds one letter per layer, c conv, A attention."""
    config = Lfm2Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=feed_forward,
        num_hidden_layers=len(pattern), num_attention_heads=heads, num_key_value_heads=kv_heads,
        layer_types=[LAYERS[letter] for letter in pattern], block_auto_adjust_ff_dim=False,
        conv_L_cache=3, conv_bias=False, norm_eps=1e-5, max_position_embeddings=4096,
        rope_parameters={'rope_type': 'default', 'rope_theta': 1e6}, tie_word_embeddings=True,
        initializer_range=0.05, pad_token_id=0, bos_token_id=1, eos_token_id=7)
    model = Lfm2ForCausalLM(config)
    for name, weight in model.named_parameters():
        if 'q_layernorm' in name or 'k_layernorm' in name:
            weight.data.fill_(QUERY_KEY_NORM)
    return model


def use_fast_kernels() -> None:
    """
    Replace two kernels of transformers that take most of a training step on a CPU.

    The fused norm and the convolution as three shifted products give the same numbers. The
    change concerns this process only, never the weights or the export.
    """
    def norm(self: torch.nn.Module, states: torch.Tensor) -> torch.Tensor:
        weight = self.weight.to(states.dtype)
        return functional.rms_norm(states, (states.shape[-1],), weight, self.variance_epsilon)

    def convolve(states: torch.Tensor, weight: torch.Tensor, bias: object = None,
                 activation: object = None, **_: object) -> torch.Tensor:
        taps, length = weight.shape[-1], states.shape[-1]
        padded = functional.pad(states, (taps - 1, 0))
        shifted = [padded[..., i:i + length] * weight[:, i, None] for i in range(taps)]
        return sum(shifted[1:], shifted[0]).to(states.dtype)

    modeling_lfm2.Lfm2RMSNorm.forward = norm
    modeling_lfm2.causal_conv1d_fn = convolve
