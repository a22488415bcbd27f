# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Random weights that every number format of the fixtures stores without loss.

A matrix is `k * 2**-n` with integers `k` in -8..7 and one `k` of -8 in each block of 32 inputs.
Symmetric int4 and int8 with blocks of 32, fp16 and fp32 all hold such a value exactly, so one set
of golden numbers judges every precision, and what remains is the error of the arithmetic.
The weights are large enough that a wrong state or position changes the log-probabilities by
about 0.1 to 1, far above any tolerance.
"""

import math

import numpy
import torch

BLOCK = 32


def draw_weights(model: torch.nn.Module, seed: int) -> None:
    """
    Overwrite every parameter and routing bias of `model` with values drawn from `seed`.

    :param model: a transformers causal language model in fp32, changed in place
    :param seed: the same seed gives the same weights on every machine
    """
    random = numpy.random.Generator(numpy.random.PCG64(seed))
    with torch.no_grad():
        for name, tensor in sorted(_tensors(model).items()):
            drawn = torch.from_numpy(_draw(name, tuple(tensor.shape), random))
            tensor.copy_(drawn.to(tensor.dtype))


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what is learned, by name; a tied `lm_head` appears once, as the embedding."""
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
    tensors.update((n, b) for n, b in model.named_buffers() if n.endswith('expert_bias'))
    return tensors


def _draw(name: str, shape: tuple[int, ...], random: numpy.random.Generator) -> numpy.ndarray:
    """Draw one tensor; its name decides the scale."""
    if name.endswith('expert_bias'):
        return _sixty_fourths(random, shape, 0.0, 0.25)
    if 'norm' in name:
        return _sixty_fourths(random, shape, 1.0, 0.5)
    if name.endswith('.conv.weight'):
        return _sixty_fourths(random, shape, 0.0, 1.0)
    if 'embed_tokens' in name or 'lm_head' in name:
        return _matrix(random, shape, exponent=-4)
    return _matrix(random, shape, exponent=round(math.log2(1 / (4 * math.sqrt(shape[-1])))))


def _sixty_fourths(
        random: numpy.random.Generator, shape: tuple[int, ...], centre: float,
        spread: float) -> numpy.ndarray:
    """Draw multiples of 1/64 uniformly within `spread` of `centre`."""
    steps = int(spread * 64)
    drawn = centre + random.integers(-steps, steps + 1, shape) / 64
    return drawn.astype(numpy.float32)


def _matrix(
        random: numpy.random.Generator, shape: tuple[int, ...], exponent: int) -> numpy.ndarray:
    """Draw a matrix [..., outputs, inputs] on the int4 grid; rows differ in scale by up to 2."""
    inputs = shape[-1]
    grid = random.integers(-7, 8, shape)
    for start in range(0, inputs, BLOCK):
        width = min(BLOCK, inputs - start)
        place = start + random.integers(0, width, shape[:-1])
        numpy.put_along_axis(grid, place[..., None], -8, axis=-1)
    scale = 2.0 ** (exponent + random.integers(0, 2, shape[:-1] + (1,)))
    return (grid * scale).astype(numpy.float32)
