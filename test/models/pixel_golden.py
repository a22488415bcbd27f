# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Golden numbers of how pictures are resized and cut, from transformers' LFM2-VL processor.

They need only numpy to be read. Pictures are `pictures.picture(height, width)`.
"""

from dataclasses import asdict
from dataclasses import dataclass
from functools import cache
import json
from pathlib import Path
from typing import Any

import numpy

FOLDER = Path(__file__).parent / 'goldens'
LAYOUTS = FOLDER / 'picture-layouts.json'
PIXELS = FOLDER / 'picture-pixels.npz'


@dataclass(frozen=True)
class Layout:
    """
    How one picture is cut, without its pixels.

    :param height: of the picture, as is `width`
    :param settings: what differs from the defaults of the processor
    :param grid: rows and columns of tiles; 1 and 1 where it is not cut
    :param size: height and width of the thumbnail, or of the whole picture if it is not cut
    :param spatial_shapes: rows and columns of patches of each tile, the thumbnail last
    :param runs: the ids that stand for the picture, as pairs of an id and how often it comes
    :param patches: number of patches to which each tile is padded; None where transformers fails
    :param failure: how transformers fails, or ''
    """

    height: int
    width: int
    settings: dict[str, Any]
    grid: list[int]
    size: list[int]
    spatial_shapes: list[list[int]]
    runs: list[list[int]]
    patches: int | None
    failure: str = ''

    @property
    def tokens(self) -> int:
        """Return the number of image tokens."""
        return sum(count for token, count in self.runs if token == 396)


def save_layouts(layouts: list[Layout]) -> None:
    """Write goldens/picture-layouts.json, a line for each layout."""
    lines = ',\n'.join(json.dumps(asdict(layout)) for layout in layouts)
    LAYOUTS.write_text(f'[\n{lines}\n]\n')


def load_layouts() -> list[Layout]:
    """Return all layouts."""
    return [Layout(**layout) for layout in json.loads(LAYOUTS.read_text())]


def save_pixels(tiles: dict[str, list[numpy.ndarray]]) -> None:
    """
    Write goldens/picture-pixels.npz.

    A tile is stored as differences from the row above and then from the pixel to the left, modulo
    256, which compress well: KEY.INDEX, uint8 [height, width, 3].

    :param tiles: the tiles of each picture, uint8 [height, width, 3], by `key`
    """
    numpy.savez_compressed(PIXELS, **{
        f'{name}.{index}': _differences(_differences(tile, 0), 1)
        for name, several in tiles.items() for index, tile in enumerate(several)})


@cache
def load_pixels() -> dict[str, list[numpy.ndarray]]:
    """Return the tiles of each picture, uint8 [height, width, 3], by `key`."""
    tiles: dict[str, list[numpy.ndarray]] = {}
    with numpy.load(PIXELS) as stored:
        for name in stored.files:
            rows = numpy.cumsum(stored[name], axis=1, dtype=numpy.uint8)
            tile = numpy.cumsum(rows, axis=0, dtype=numpy.uint8)
            tiles.setdefault(name.rpartition('.')[0], []).append(tile)
    return tiles


def key(resample: str, height: int, width: int) -> str:
    """
    Return the name of a picture among the pixels, as 'bilinear-90x120'.

    :param resample: 'bilinear' or 'bicubic'
    """
    return f'{resample}-{height}x{width}'


def _differences(tile: numpy.ndarray, axis: int) -> numpy.ndarray:
    """Return the differences along `axis`, modulo 256; the first entry stays."""
    return numpy.diff(tile, axis=axis, prepend=numpy.zeros_like(tile.take([0], axis)))
