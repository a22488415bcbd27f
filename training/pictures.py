# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cut pictures into patches, as transformers' Lfm2VlImageProcessor does."""

import math
from typing import NamedTuple

import numpy
from PIL import Image

# Written beside the model. Small, so that an image costs at most 64 tokens; cameras of up to
# 1920 x 1080 pixels stay a single image.
SETTINGS = {
    'image_processor_type': 'Lfm2VlImageProcessor', 'processor_class': 'Lfm2VlProcessor',
    'do_resize': True, 'size': {'height': 256, 'width': 256}, 'resample': 2,
    'do_rescale': True, 'rescale_factor': 1 / 255, 'do_normalize': True,
    'image_mean': [0.5, 0.5, 0.5], 'image_std': [0.5, 0.5, 0.5], 'do_pad': True,
    'do_image_splitting': True, 'min_tiles': 2, 'max_tiles': 4, 'use_thumbnail': True,
    'tile_size': 256, 'encoder_patch_size': 16, 'downsample_factor': 2,
    'min_image_tokens': 16, 'max_image_tokens': 64, 'max_num_patches': 256,
    'max_pixels_tolerance': 32.0, 'return_row_col_info': False}
PATCH, CELL = 16, 32
PATCH_VALUES = PATCH * PATCH * 3
LEAST_PIXELS, MOST_PIXELS = 16 * CELL ** 2, 64 * CELL ** 2
MOST_PATCHES = 256


class Patches(NamedTuple):
    """The patches of a picture, uint8 [rows * columns, 768], in the order row, column, channel."""

    values: numpy.ndarray
    rows: int
    columns: int


def fit(width: int, height: int) -> tuple[int, int]:
    """Return the size to which a picture is resized: whole cells, 16 to 64 of them."""
    wide, high = (max(CELL, round(side / CELL) * CELL) for side in (width, height))
    if wide * high > MOST_PIXELS:
        scale = math.sqrt(width * height / MOST_PIXELS)
        wide, high = (max(CELL, math.floor(side / scale / CELL) * CELL)
                      for side in (width, height))
    elif wide * high < LEAST_PIXELS:
        scale = math.sqrt(LEAST_PIXELS / (width * height))
        wide, high = (math.ceil(side * scale / CELL) * CELL for side in (width, height))
    return wide, high


def cut(picture: Image.Image) -> Patches:
    """Resize a picture and cut it into patches."""
    wide, high = fit(*picture.size)
    pixels = numpy.asarray(picture.convert('RGB').resize((wide, high), Image.BILINEAR))
    rows, columns = high // PATCH, wide // PATCH
    values = pixels.reshape(rows, PATCH, columns, PATCH, 3).swapaxes(1, 2)
    return Patches(values.reshape(rows * columns, -1), rows, columns)


def normalize(values: numpy.ndarray) -> numpy.ndarray:
    """Return uint8 values as the model takes them, float32 from -1 to 1."""
    return (values.astype(numpy.float32) / 255 - 0.5) / 0.5
