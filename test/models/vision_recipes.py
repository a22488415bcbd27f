# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fixture models that see: what each one is, without saying how it is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes import CONTEXT

MODELS = Path(__file__).parent
FOLDER = MODELS / 'vision'
VOCABULARY = 512
IMAGE_ID = 396
SEED = 236

TEXT = {
    'vocab_size': VOCABULARY, 'hidden_size': 32, 'intermediate_size': 16,
    'max_position_embeddings': CONTEXT, 'bos_token_id': 1, 'eos_token_id': 7, 'pad_token_id': 0,
    'num_attention_heads': 2, 'num_key_value_heads': 1, 'num_hidden_layers': 4,
    'layer_types': ['conv', 'full_attention', 'conv', 'full_attention'],
    'block_auto_adjust_ff_dim': False, 'conv_L_cache': 3,
    'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6}}

TOWER = {
    'hidden_size': 32, 'intermediate_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 2,
    'num_patches': 64, 'patch_size': 16, 'vision_use_head': False}

PROJECTOR = {
    'image_token_id': IMAGE_ID, 'projector_hidden_size': 48, 'projector_use_layernorm': True,
    'downsample_factor': 2, 'tie_word_embeddings': True}

BILINEAR, BICUBIC = 2, 3
FILTERS = {'bilinear': BILINEAR, 'bicubic': BICUBIC}

# What the processor of pictures is told: 4 to 16 tokens a picture, up to 4 tiles of 16 tokens.
SMALL = {
    'min_image_tokens': 4, 'max_image_tokens': 16, 'tile_size': 128, 'min_tiles': 2,
    'max_tiles': 4, 'use_thumbnail': True, 'max_pixels_tolerance': 2.0}
PATCHES = 64


@dataclass(frozen=True)
class VisionRecipe:
    """
    One fixture; all of them have the same weights.

    :param name: name of the folder and of the golden files
    :param what: one line for the table in README.md
    :param resample: how the processor resizes, `BILINEAR` or `BICUBIC`
    :param builder: the onnxruntime-genai series that makes the decoder
    :param vision: file of the vision encoder
    :param embedding: file of the embedding of ids
    :param decoder: file of the decoder
    :param signature: inputs of the vision encoder: pixels, their mask, rows and columns
    :param patches: number of patches per call, or None for any number
    :param onnxruntime: the first version of ONNX Runtime that opens the decoder
    """

    name: str
    what: str
    resample: int
    builder: str
    vision: str
    embedding: str
    decoder: str
    signature: tuple[str, str, str]
    patches: int | None
    onnxruntime: tuple[int, int]
    tolerance: float = 1e-4

    @property
    def folder(self) -> Path:
        """Return the folder of the fixture."""
        return FOLDER / self.name

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the processor of pictures."""
        return {**SMALL, 'resample': self.resample}


RECIPES = (
    VisionRecipe(
        'lfm2-vl', 'three graphs for onnxruntime-genai, any number of patches, bilinear',
        BILINEAR, '0.18', 'vision_encoder.onnx', 'embeddings.onnx', 'model.onnx',
        ('pixel_values', 'attention_mask', 'image_sizes'), None, (1, 29)),
    VisionRecipe(
        'lfm2-vl-past-conv', 'as onnx-community publishes it, 64 patches per call, bicubic',
        BICUBIC, '0.14', 'onnx/vision_encoder.onnx', 'onnx/embed_tokens.onnx',
        'onnx/decoder_model_merged.onnx',
        ('pixel_values', 'pixel_attention_mask', 'spatial_shapes'), PATCHES, (1, 23)),
)
