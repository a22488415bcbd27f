# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Resize images with the very pixels that models were trained on.

That is torch's antialiased resize of bytes, which torchvision and so transformers use: weights in
16 bits, across first, then down, rounded to bytes in between (ATen, UpSampleKernel.cpp). Pillow
comes within one or two levels of it, and from version 13 on, where the order differs, within 13.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

BILINEAR, BICUBIC = 2, 3  # numbers of Pillow, which the files of models use

STRIP = 1 << 15  # numbers that are computed at a time: more would not stay in a cache
_MAX_BITS = 22
_SHARPNESS = -0.5  # of the cubic, named a by Keys


def resize(pixels: np.ndarray, height: int, width: int, resample: int) -> np.ndarray:
    """
    Return an image in another size.

    :param pixels: uint8 ``[rows, columns, channels]``.
    :param resample: :data:`BILINEAR` or :data:`BICUBIC`; both shrink without aliasing.
    """
    pixels = np.ascontiguousarray(pixels)  # take would copy it for every tap
    if pixels.shape[1] != width:
        pixels = _scale(pixels, width, 1, resample)
    if pixels.shape[0] != height:
        pixels = _scale(pixels, height, 0, resample)
    return pixels


def _scale(pixels: np.ndarray, size: int, axis: int, resample: int) -> np.ndarray:
    """Scale one axis, some rows at a time: what is computed takes four times the memory."""
    starts, weights, bits = _weights(pixels.shape[axis], size, resample)
    channels, shape = pixels.shape[2], list(pixels.shape)
    shape[axis] = size
    flat = pixels.reshape(len(pixels), -1)
    found = np.empty((shape[0], shape[1] * channels), np.uint8)
    if axis == 1:
        places = (starts[:, None] * channels + np.arange(channels)).ravel()
        weights = weights.repeat(channels, axis=1)
    rows = max(1, STRIP // found.shape[1])
    for low in range(0, shape[0], rows):
        part = slice(low, low + rows)
        if axis == 0:
            _sum(flat, starts[part], 1, weights[:, part, None], bits, 0, found[part])
        else:
            _sum(flat[part], places, channels, weights, bits, 1, found[part])
    return found.reshape(shape)


def _sum(flat: np.ndarray, places: np.ndarray, step: int, weights: np.ndarray, bits: int,
         axis: int, out: np.ndarray) -> None:
    """Write sums of weighted numbers; no tap allocates anything."""
    taken = np.empty(out.shape, np.uint8)
    weighted = np.empty(out.shape, np.int32)
    total = np.full(out.shape, 1 << (bits - 1), np.int32)
    for tap, weight in enumerate(weights):
        # Behind the end of a line weights are 0: clip only keeps the places within it.
        np.take(flat, places + tap * step, axis=axis, out=taken, mode='clip')
        total += np.multiply(taken, weight, out=weighted)
    total >>= bits
    out[:] = total.clip(0, 255, out=total)


@lru_cache(maxsize=16)
def _weights(size: int, new: int, resample: int) -> tuple[np.ndarray, np.ndarray, int]:
    """
    Return how the pixels of a line make those of a new one.

    :returns: the first pixel of each new one; int32 ``[taps, new]``: how much it and those after
        it count, in units of 2 to the power of minus the third.
    """
    scale = size / new
    reach = max(scale, 1.0) * (1.0 if resample == BILINEAR else 2.0)
    centre = scale * (np.arange(new) + 0.5)
    starts = np.maximum((centre - reach + 0.5).astype(int), 0)
    ends = np.minimum((centre + reach + 0.5).astype(int), size)
    places = np.arange(int((ends - starts).max()))[:, None]
    distance = np.abs((places + starts - centre + 0.5) / max(scale, 1.0))
    weights = _triangle(distance) if resample == BILINEAR else _cubic(distance)
    weights = np.where(places < ends - starts, weights, 0)
    weights /= weights.sum(axis=0)
    bits = 0
    while bits < _MAX_BITS and int(0.5 + weights.max() * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    whole = np.trunc(weights * (1 << bits) + np.where(weights < 0, -0.5, 0.5))
    return starts, whole.astype(np.int32), bits


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - x, 0)


def _cubic(x: np.ndarray) -> np.ndarray:
    a = _SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))
