# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for tests, the same on every machine: gradients, edges and a band of noise."""

import numpy

RED = (250, 30, 40)


def picture(height: int, width: int, seed: int = 0) -> numpy.ndarray:
    """
    Return a picture, uint8 [height, width, 3], in which no two rows or columns are alike.

    Red grows to the right and green downwards, blue goes up and down along the diagonal. A red box
    lies top left of the middle; bottom right of it, an ellipse in which all colours are inverted.
    The lowest sixth is noisy. All of it is computed in integers.

    :param seed: of the noise
    """
    y, x = numpy.arange(height)[:, None], numpy.arange(width)[None]
    colours = numpy.empty((height, width, 3), numpy.int64)
    colours[..., 0] = x * 255 // max(width - 1, 1)
    colours[..., 1] = y * 255 // max(height - 1, 1)
    colours[..., 2] = abs((2 * x + 3 * y) % 510 - 255)
    colours[height // 4:height // 2, width // 6:width // 3] = RED
    down, right = (y - 2 * height // 3) * width, (x - 2 * width // 3) * height
    inside = down ** 2 + right ** 2 < (height * width // 5) ** 2
    colours[inside] = 255 - colours[inside]
    noisy = height // 6
    random = numpy.random.Generator(numpy.random.PCG64(seed))
    colours[height - noisy:] += random.integers(-16, 17, (noisy, width, 3))
    return colours.clip(0, 255).astype(numpy.uint8)
