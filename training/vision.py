# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Give the text model eyes: the architecture of LFM2-VL, small."""

import math

import numpy
from pictures import MOST_PATCHES, normalize, PATCH_VALUES, Patches
import torch
from torch import nn
from transformers import (Lfm2ForCausalLM, Lfm2VlConfig, Lfm2VlForConditionalGeneration,
                          Siglip2VisionConfig)

IMAGE_TOKEN = 396


def make_vision_model(text: Lfm2ForCausalLM, hidden: int = 128, feed_forward: int = 384,
                      layers: int = 4, heads: int = 4) -> Lfm2VlForConditionalGeneration:
    """Return a LFM2-VL model with a fresh SigLIP2 tower and the weights of the text model."""
    tower = Siglip2VisionConfig(
        hidden_size=hidden, intermediate_size=feed_forward, num_hidden_layers=layers,
        num_attention_heads=heads, num_patches=256, patch_size=16, vision_use_head=False)
    config = Lfm2VlConfig(
        vision_config=tower, text_config=text.config, image_token_id=IMAGE_TOKEN,
        projector_hidden_size=256, downsample_factor=2, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=7)
    model = Lfm2VlForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    table = model.model.vision_tower.embeddings.position_embedding.weight
    table.data.copy_(_waves(int(tower.num_patches ** 0.5), hidden))
    return model


def _waves(side: int, hidden: int) -> torch.Tensor:
    """
    Return a first position table [side * side, hidden]: waves of many lengths across and down.

    From small random numbers the tower takes much longer to learn where things are.
    """
    cycles = 0.25 * 24.0 ** torch.linspace(0, 1, hidden // 4)
    angles = 2 * math.pi * (torch.arange(side)[:, None] + 0.5) / side * cycles
    axis = torch.cat((angles.sin(), angles.cos()), -1)
    across, down = axis.expand(side, -1, -1), axis[:, None].expand(-1, side, -1)
    return torch.cat((across, down), -1).reshape(side * side, hidden)


class Eye(nn.Module):
    """
    The tower and the projector of a model, for images of any sizes in one batch.

    Inputs: pixel_values [images, patches, 768], attention_mask [images, patches] (0 for padding)
    and image_sizes [images, 2] (rows and columns of patches, even). Output: image features
    [images, patches / 4, hidden], of which the first rows * columns / 4 of an image count. The
    numbers are those of transformers, which handles one image after the other.
    """

    def __init__(self, model: Lfm2VlForConditionalGeneration) -> None:
        super().__init__()
        self.tower = model.model.vision_tower
        self.projector = model.model.multi_modal_projector
        self.side = self.tower.embeddings.position_embedding_size

    def forward(self, pixel_values: torch.Tensor, attention_mask: torch.Tensor,
                image_sizes: torch.Tensor) -> torch.Tensor:
        states = self.encode(pixel_values, attention_mask, image_sizes)
        return self.project(states[-1], image_sizes)

    def look(self, pictures: list[Patches]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states halfway up the tower and the features of pictures, padded."""
        values = numpy.full((len(pictures), MOST_PATCHES, PATCH_VALUES), 127, numpy.uint8)
        mask = torch.zeros(len(pictures), MOST_PATCHES, dtype=torch.long)
        for i, picture in enumerate(pictures):
            values[i, :len(picture.values)] = picture.values
            mask[i, :len(picture.values)] = 1
        sizes = torch.tensor([(picture.rows, picture.columns) for picture in pictures])
        states = self.encode(torch.from_numpy(normalize(values)), mask, sizes)
        return states[len(states) // 2 - 1], self.project(states[-1], sizes)

    def encode(self, pixel_values: torch.Tensor, attention_mask: torch.Tensor,
               image_sizes: torch.Tensor) -> list[torch.Tensor]:
        """Return the states of all patches [images, patches, tower hidden] after each layer."""
        embeddings = self.tower.embeddings
        rows, columns = image_sizes[:, 0:1].float(), image_sizes[:, 1:2].float()
        number = torch.arange(pixel_values.shape[1], dtype=torch.float32)[None]
        row = torch.floor(number / columns)
        across, down = number - row * columns, torch.minimum(row, rows - 1)
        taps = self._taps(down, rows)[..., :, None] * self._taps(across, columns)[..., None, :]
        states = embeddings.patch_embedding(pixel_values)
        states = states + taps.flatten(-2) @ embeddings.position_embedding.weight
        bias = (1.0 - attention_mask[:, None, None, :].float()) * -1e9
        after = []
        for layer in self.tower.encoder.layers:
            states = layer(states, bias)
            after.append(states)
        after[-1] = self.tower.post_layernorm(states)
        return after

    def project(self, states: torch.Tensor, image_sizes: torch.Tensor) -> torch.Tensor:
        """Join every two by two patches to one image feature."""
        factor = self.projector.factor
        columns = image_sizes[:, 1:2].float()
        patches = states.shape[1]
        number = torch.arange(patches // factor ** 2, dtype=torch.float32)[None]
        row = torch.floor(number * factor / columns)
        across = number - row * columns / factor
        first = (row * columns + across) * factor
        parts = []
        for i in range(factor):
            for j in range(factor):
                source = (first + i * columns + j).clamp(max=patches - 1).long()
                parts.append(states.gather(1, source[..., None].expand(-1, -1, states.shape[-1])))
        joined = torch.cat(parts, -1)
        if self.projector.use_layer_norm:
            joined = self.projector.layer_norm(joined)
        return self.projector.linear_2(self.projector.act(self.projector.linear_1(joined)))

    def _taps(self, index: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """
        Return the weights of the entries of the position table for each place [images, n, side].

        They are those of a bilinear resize with antialiasing of a table of `side` entries to
        `size` places: triangles, wider than an entry where the table is made smaller.
        """
        scale = self.side / size[..., None]
        support = scale.clamp(min=1.0)
        centre = (index[..., None] + 0.5) * scale
        entry = torch.arange(self.side, dtype=torch.float32) + 0.5
        weights = (1.0 - (entry - centre).abs() / support).clamp(min=0.0)
        return weights / weights.sum(-1, keepdim=True)
