# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
From an image to what the vision encoder takes, as transformers' Lfm2VlImageProcessor does it.

Source: transformers 5.23, models/lfm2_vl/image_processing_lfm2_vl.py and processing_lfm2_vl.py.
"""
from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from functools import cached_property
import math
from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.vision.image import check_size
from lfm_ros.engine.vision.image import encode
from lfm_ros.engine.vision.image import invalid
from lfm_ros.engine.vision.image import MAX_TILES
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.engine.vision.resize import BICUBIC
from lfm_ros.engine.vision.resize import BILINEAR
from lfm_ros.engine.vision.resize import resize
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

CHANNELS = 3
MAX_SETTING = 1e9  # of all numbers that are settings


@dataclass(frozen=True)
class ImageSettings:
    """
    The constants of a model; names and defaults as in preprocessor_config.json of LFM2-VL.

    :param encoder_patch_size: pixels along a patch; ``downsample_factor`` patches along a token.
    :param min_image_tokens: of an image that is not cut; ``max_image_tokens`` likewise.
    :param tile_size: pixels along a tile of an image that is cut.
    :param max_pixels_tolerance: how many times larger than max_image_tokens an image must be to
        be cut.
    """

    encoder_patch_size: int = 16
    downsample_factor: int = 2
    min_image_tokens: int = 64
    max_image_tokens: int = 256
    do_image_splitting: bool = True
    tile_size: int = 512
    min_tiles: int = 2
    max_tiles: int = 10
    use_thumbnail: bool = True
    max_pixels_tolerance: float = 2.0
    resample: int = BILINEAR
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5,) * CHANNELS
    image_std: tuple[float, ...] = (0.5,) * CHANNELS

    @classmethod
    def read(cls, folder: ModelFolder) -> ImageSettings:
        """
        Read the settings of a model folder.

        transformers 4 wrote preprocessor_config.json, 5 also a part of processor_config.json; the
        first LFM2-VL models repeat some in config.json.

        :raises LfmError: MODEL_DAMAGED, for values that no model can have.
        """
        given: Mapping[str, Any] = ChainMap(*_files(folder).values())
        found: dict[str, Any] = {}
        for field in fields(cls):
            value = given.get(field.name)
            if value is None:
                continue
            if field.name.startswith('image_') and isinstance(value, (int, float)):
                value = (value,) * CHANNELS
            found[field.name] = tuple(value) if isinstance(value, list) else value
        settings = cls(**found)
        if not settings._sound():
            raise LfmError(ErrorCode.MODEL_DAMAGED, f'the image settings in {folder.root} cannot '
                           f'be used ({found}): copy preprocessor_config.json of the model again')
        return settings

    @classmethod
    def source(cls, folder: ModelFolder) -> str:
        """Return the name of the file that says how large images are, for errors."""
        sizes = {'max_image_tokens', 'tile_size', 'encoder_patch_size'}
        return next((file for file, given in _files(folder).items() if sizes.intersection(given)),
                    'the default, since the folder has no preprocessor_config.json,')

    def limited(self, max_tokens: int = 0, tiling: bool = True) -> ImageSettings:
        """
        Return settings that spend less on an image.

        :param max_tokens: of one image, its tiles and thumbnail included; 0: as the model has it.
        :param tiling: whether large images may be cut, where the model does that.
        """
        if not 0 < max_tokens:
            return replace(self, do_image_splitting=self.do_image_splitting and tiling)
        if max_tokens < self.max_image_tokens:
            return replace(self, do_image_splitting=False, max_image_tokens=max_tokens,
                           min_image_tokens=min(self.min_image_tokens, max_tokens))
        thumbnail = self.max_image_tokens if self.use_thumbnail else 0
        tiles = min(self.max_tiles, (max_tokens - thumbnail) // self.tile_tokens)
        splitting = self.do_image_splitting and tiling and tiles >= max(2, self.min_tiles)
        return replace(self, do_image_splitting=splitting,
                       max_tiles=tiles if splitting else self.max_tiles)

    @property
    def step(self) -> int:
        """Return pixels along a token; sides of images are multiples of it."""
        return self.encoder_patch_size * self.downsample_factor

    @property
    def tile_tokens(self) -> int:
        """Return the tokens of a tile."""
        return math.ceil(self.tile_size // self.encoder_patch_size / self.downsample_factor) ** 2

    @property
    def max_patches(self) -> int:
        """The most patches of one run of the encoder."""
        tile = (self.tile_size // self.encoder_patch_size) ** 2 if self.do_image_splitting else 0
        return max(self.max_image_tokens * self.downsample_factor ** 2, tile)

    @property
    def tile_limit(self) -> int:
        """Return the most tiles into which an image is cut; 1: it never is."""
        return self.max_tiles if self.do_image_splitting else 1

    def _sound(self) -> bool:
        numbers = (self.encoder_patch_size, self.downsample_factor, self.min_image_tokens,
                   self.max_image_tokens, self.tile_size, self.min_tiles, self.max_tiles)
        return (all(type(n) is int and 0 < n <= 1 << 16 for n in numbers) and
                self.min_image_tokens <= self.max_image_tokens and
                self.min_tiles <= self.max_tiles <= MAX_TILES and
                self.tile_size % self.step == 0 and self.resample in (BILINEAR, BICUBIC) and
                all(type(n) in (int, float) and abs(n) < MAX_SETTING  # which NaN is not
                    for n in (*self.image_mean, *self.image_std, self.rescale_factor,
                              self.max_pixels_tolerance)) and
                len(self.image_mean) == len(self.image_std) == CHANNELS and
                all(self.image_std) and self.max_pixels_tolerance > 0)


class ImageProcessor:
    """Lays out, resizes and normalizes images."""

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings

    def prepare(self, pixels: np.ndarray) -> PreparedImage:
        """
        Return what the model sees of an image.

        :param pixels: uint8 RGB ``[height, width, 3]``, or grey ``[height, width, 1]``.
        :raises LfmError: INVALID_IMAGE.
        """
        height, width = pixels.shape[:2]
        check_size(width, height)
        rows, columns = self.grid(height, width)
        whole = self.resized(height, width)
        tokens = self.tokens_of(*whole)
        side, settings = self.settings.tile_size, self.settings
        uncut = rows * columns == 1
        if (uncut or settings.use_thumbnail) and \
                tokens * settings.downsample_factor ** 2 > settings.max_patches:
            raise invalid(f'an image is {width} x {height} pixels, which is too long and thin for '
                          'this model, or for image.max_tokens: cut it into parts')
        if uncut:
            return PreparedImage(tokens, 1, 1, self._encode(pixels, *whole))
        main = self._encode(pixels, side * rows, side * columns)
        thumbnail = self._encode(pixels, *whole) if settings.use_thumbnail else b''
        return PreparedImage(rows * columns * settings.tile_tokens + (tokens if thumbnail else 0),
                             rows, columns, main, thumbnail)

    def _encode(self, pixels: np.ndarray, height: int, width: int) -> bytes:
        """Return an RGB image in another size as PNG; grey is only tripled when it is small."""
        resized = resize(pixels, height, width, self.settings.resample)
        return encode(resized.repeat(CHANNELS, axis=2) if resized.shape[2] == 1 else resized)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to which an image that is not cut is resized."""
        settings, step = self.settings, self.settings.step
        least, most = (tokens * step * step for tokens in
                       (settings.min_image_tokens, settings.max_image_tokens))
        high, wide = (max(step, round(n / step) * step) for n in (height, width))
        if high * wide > most:
            scale = math.sqrt(height * width / most)
            high, wide = (max(step, math.floor(n / scale / step) * step) for n in (height, width))
        elif high * wide < least:
            scale = math.sqrt(least / (height * width))
            high, wide = (math.ceil(n * scale / step) * step for n in (height, width))
        return high, wide

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of tiles into which an image is cut; 1 and 1: it is not."""
        settings, step = self.settings, self.settings.step
        if not settings.do_image_splitting or settings.min_tiles == settings.max_tiles == 1:
            return 1, 1
        high, wide = (max(settings.encoder_patch_size, round(n / step) * step)
                      for n in (height, width))
        if high * wide <= settings.max_image_tokens * step * step * settings.max_pixels_tolerance:
            return 1, 1
        best, distance = (1, 1), math.inf
        for columns, rows in self._grids:
            off = abs(width / height - columns / rows)
            # Of two that fit alike the larger one is taken when the image has pixels to fill it.
            fills = height * width > 0.5 * settings.tile_size ** 2 * rows * columns
            if off < distance or off == distance and fills:
                best, distance = (rows, columns), off
        return best

    def tokens_of(self, height: int, width: int) -> int:
        """Return the tokens of an image of this size that is not cut."""
        patch, factor = self.settings.encoder_patch_size, self.settings.downsample_factor
        return math.ceil(height // patch / factor) * math.ceil(width // patch / factor)

    def patches(self, crop: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """
        Return the patches of one tile.

        :param crop: uint8 RGB ``[height, width, 3]``, sides multiples of the patch.
        :returns: float32 ``[patches, patch * patch * 3]``, and rows and columns of patches.
        """
        settings, side = self.settings, self.settings.encoder_patch_size
        rows, columns = crop.shape[0] // side, crop.shape[1] // side
        values = crop.astype(np.float32)
        if settings.do_rescale:
            values *= np.float32(settings.rescale_factor)
        if settings.do_normalize:
            values -= np.array(settings.image_mean, np.float32)
            values /= np.array(settings.image_std, np.float32)
        cut = values.reshape(rows, side, columns, side, CHANNELS).transpose(0, 2, 1, 3, 4)
        return np.ascontiguousarray(cut).reshape(rows * columns, -1), (rows, columns)

    def grids(self) -> list[tuple[int, int]]:
        """Return all (rows, columns) into which images may be cut."""
        if not self.settings.do_image_splitting:
            return []
        return [(rows, columns) for columns, rows in self._grids if rows * columns > 1]

    @cached_property
    def _grids(self) -> list[tuple[int, int]]:
        """
        All (columns, rows) that may be, the fewest tiles first.

        In transformers, the order of a set decides which of two with as many tiles comes first, so
        the set is filled here as it is in transformers.
        """
        low, high = self.settings.min_tiles, self.settings.max_tiles
        grids = [(w, h) for n in range(low, high + 1) for w in range(1, n + 1)
                 for h in range(1, n + 1) if low <= w * h <= high]
        return sorted(set(grids), key=lambda grid: grid[0] * grid[1])


def _files(folder: ModelFolder) -> dict[str, dict[str, Any]]:
    """Return what may hold image settings, by the name of the file; the first ones count."""
    processor = folder.read_json('processor_config.json').get('image_processor')
    return {'preprocessor_config.json': folder.read_json('preprocessor_config.json'),
            'processor_config.json': processor if isinstance(processor, dict) else {},
            'config.json': folder.config}
