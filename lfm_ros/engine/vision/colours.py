# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Red, green and blue from what cameras give: luma with colour differences, and Bayer mosaics."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

# Bilinear interpolation of a colour that every fourth pixel has, and of one that every second has.
_Kernel = tuple[tuple[int, ...], ...]
_Pattern = tuple[np.ndarray, _Kernel, np.ndarray]
_QUARTER: _Kernel = ((1, 2, 1), (2, 4, 2), (1, 2, 1))
_HALF: _Kernel = ((0, 1, 0), (1, 4, 1), (0, 1, 0))
_STRIP_PIXELS = 1 << 15  # computed at a time, in float32: more would not stay in a cache


def strip_rows(width: int) -> int:
    """Return how many rows to compute at a time, an even number."""
    return max(2, _STRIP_PIXELS // width // 2 * 2)


def from_yuv(luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> np.ndarray:
    """
    Return RGB by ITU-R BT.601 in video range, as OpenCV does.

    :param luma: uint8 ``[height, width]``.
    :param blue: colour differences, ``red`` likewise: of all pixels, of two beside each other, or
        of two by two.
    """
    height, width = luma.shape
    down, across = (1 if size == full else 2 for size, full in zip(blue.shape, luma.shape))
    found = np.empty((height, width, 3), np.uint8)
    rows = strip_rows(width)
    for low in range(0, height, rows):
        part = slice(low, low + rows)
        colours = slice(low // down, (low + rows) // down)
        y = luma[part].astype(np.float32)
        y -= 16
        y *= np.float32(1.164)
        u, v = (plane[colours].astype(np.float32) - 128 for plane in (blue, red))
        for place, terms in enumerate(((1.596 * v,), (-0.813 * v, -0.391 * u), (2.018 * u,))):
            value = y
            for term in terms:
                wide = term.repeat(across, axis=1) if across > 1 else term
                wide = wide.repeat(down, axis=0) if down > 1 else wide
                value = value + wide[:len(y), :width]
            np.rint(value, out=value)
            found[part, :, place] = value.clip(0, 255, out=value)
    return found


def demosaic(values: np.ndarray, order: str) -> np.ndarray:
    """
    Return RGB of a mosaic by bilinear interpolation.

    :param values: uint8 ``[height, width]``.
    :param order: the colours of the first two pixels of the first two rows, such as rggb.
    """
    height, width = values.shape
    found = np.empty((height, width, 3), np.uint8)
    rows, pattern = strip_rows(width), cache(_pattern)  # most strips are alike
    for low in range(0, height, rows):
        first = max(0, low - 2)  # a mosaic needs its neighbours
        strip = _interpolate(values[first:low + rows + 2], order, pattern)
        found[low:low + rows] = strip[low - first:][:rows]
    return found


def _interpolate(values: np.ndarray, order: str, pattern: Callable[..., _Pattern]
                 ) -> np.ndarray:
    found = np.empty((*values.shape, 3), np.uint8)
    for place, colour in enumerate('rgb'):
        known, kernel, weights = pattern(*values.shape, order, colour)
        sums = _convolve(values * known, kernel)
        # An image of one row lacks a colour.
        np.divide(sums, weights, out=sums, where=weights > 0)
        found[:, :, place] = np.rint(sums, out=sums)
    return found


def _pattern(height: int, width: int, order: str, colour: str) -> _Pattern:
    """Return where in a mosaic a colour is, 0 or 1, how to spread it, and what that adds up to."""
    places = [n for n in range(4) if order[n] == colour]
    kernel = _HALF if len(places) == 2 else _QUARTER
    known = np.zeros((height, width), np.float32)
    for place in places:
        known[place // 2::2, place % 2::2] = 1
    return known, kernel, _convolve(known, kernel)


def _convolve(plane: np.ndarray, kernel: _Kernel) -> np.ndarray:
    height, width = plane.shape
    padded = np.pad(plane, 1)
    found = np.zeros(plane.shape, np.float32)
    part = np.empty(plane.shape, np.float32)
    for y, weights in enumerate(kernel):
        for x, weight in enumerate(weights):
            if weight:
                found += np.multiply(padded[y:y + height, x:x + width], weight, out=part)
    return found
