#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Compute how transformers resizes and cuts pictures of many sizes.

It needs what make_vision_models.py needs. With the real settings, whose tiles have 512 x 512
pixels, only numbers are kept; with the settings of the fixtures all pixels are.
"""

from itertools import groupby
import sys
from typing import Any

from pixel_golden import key
from pixel_golden import Layout
from pixel_golden import load_pixels
from pixel_golden import save_layouts
from pixel_golden import save_pixels
from vision_oracle import pixels_of
from vision_oracle import process
from vision_recipes import FILTERS
from vision_recipes import SMALL

# Height and width. Of the cases named extreme, transformers fails on some.
COMMON = (
    (1, 1), (16, 16), (31, 33), (60, 100), (100, 1600), (240, 320), (256, 384), (333, 777),
    (480, 640), (512, 512), (600, 800), (720, 1280), (724, 724), (736, 736), (768, 1024),
    (1000, 3000), (1080, 1920), (1600, 100), (1920, 1080), (2160, 3840), (3000, 1000))
ROUNDING = (
    (48, 80), (80, 48), (240, 272), (255, 257), (496, 528), (688, 752), (720, 720), (752, 720),
    (512, 1024), (1024, 512), (1536, 1024), (700, 1400), (1400, 700), (600, 3100))
EXTREME = (
    (1, 1000), (1000, 1), (2, 3), (10, 2000), (16, 16000), (32, 8192), (32, 8208), (1, 9000),
    (10, 10000), (10000, 10), (33, 16500), (40, 13000), (1, 20000))
SOME = ((1, 1), (60, 100), (480, 640), (600, 800), (720, 1280), (1000, 3000), (1920, 1080))
SETTINGS: tuple[tuple[dict[str, Any], tuple[tuple[int, int], ...]], ...] = (
    ({}, (*COMMON, *ROUNDING, *EXTREME)), ({'use_thumbnail': False}, SOME),
    ({'do_image_splitting': False}, (*SOME, (10, 10000), (2160, 3840))),
    ({'max_pixels_tolerance': 1.5}, (*SOME, (620, 640), (512, 800))),
    ({'max_image_tokens': 128}, (*SOME, (333, 777), (512, 544))),
    ({'min_image_tokens': 32, 'max_tiles': 6}, ((16, 16), (1000, 3000), (3000, 1000))),
    ({'min_tiles': 1}, ((736, 736), (1000, 3000), (724, 760))),
    (SMALL, ((8, 600), (600, 8), (90, 120), (150, 400), (420, 200), (4, 9000))))

PIXELS = (
    (1, 1), (1, 40), (2, 3), (7, 5), (16, 16), (31, 33), (40, 1), (33, 95), (60, 100), (64, 64),
    (64, 96), (65, 63), (90, 120), (96, 160), (100, 30), (100, 100), (111, 222), (120, 90),
    (127, 129), (128, 128), (150, 200), (150, 400), (160, 208), (181, 181), (192, 176), (200, 420),
    (211, 97), (240, 320), (256, 256), (300, 20), (20, 300), (333, 777), (420, 200), (480, 640),
    (384, 128), (50, 700))


def main() -> int:
    """Write all golden numbers of pictures."""
    layouts = [layout_of(settings, *size) for settings, sizes in SETTINGS for size in sizes]
    save_layouts(layouts)
    for layout in layouts:
        if layout.failure:
            print(f'{layout.height} x {layout.width} {layout.settings}: {layout.failure}')
    tiles = {}
    for name, resample in FILTERS.items():
        for size in PIXELS:
            found = process({**SMALL, 'resample': resample}, [size], '<image>')
            tiles[key(name, *size)] = [
                pixels_of(found, i) for i in range(len(found['spatial_shapes']))]
    save_pixels(tiles)
    loaded = load_pixels()
    same = loaded.keys() == tiles.keys() and all(
        (a == b).all() for k in tiles for a, b in zip(loaded[k], tiles[k], strict=True))
    return 0 if same else 1


def layout_of(settings: dict[str, Any], height: int, width: int) -> Layout:
    """Return how transformers cuts a picture of this size."""
    try:
        found = process(settings, [(height, width)], '<image>')
    except Exception as error:  # noqa: B902 - whatever it is, it is what a user would get
        return Layout(height, width, settings, [], [], [], [], None, first_line(error))
    shapes = found['spatial_shapes'].tolist()
    patches, kept = found['pixel_values'].shape[1], found['pixel_attention_mask'].shape[1]
    runs = [[token, len(list(run))] for token, run in groupby(found['input_ids'][0].tolist())]
    return Layout(
        height, width, settings, [int(found['image_rows'][0]), int(found['image_cols'][0])],
        [int(side) for side in found['image_sizes'][0]], shapes, runs,
        patches if patches == kept else None,
        '' if patches == kept else f'{patches} patches with a mask of {kept}')


def first_line(error: Exception) -> str:
    """Return the name of an exception and the first line of its message."""
    return f'{type(error).__name__}: {str(error).splitlines()[0]}'


if __name__ == '__main__':
    sys.exit(main())
