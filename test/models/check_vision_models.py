#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Compare every fixture that sees with its golden numbers and print the table of README.md.

It needs only numpy and onnxruntime. The last column tells how far log-probabilities move when all
pictures are taken away from the encoder, which sees black ones instead.
"""

import sys

import numpy
from pixel_golden import key
from pixel_golden import load_pixels
from vision_golden import load
from vision_golden import VisionCase
from vision_recipes import FILTERS
from vision_recipes import IMAGE_ID
from vision_recipes import RECIPES
from vision_recipes import TEXT
from vision_recipes import VisionRecipe
from vision_runner import PlainVisionRunner

Tiles = list[numpy.ndarray]


def main(names: list[str]) -> int:
    """Check the named fixtures, or all; return 1 when one misses its tolerance."""
    print('| fixture | what it is | exporter | kB | features | log-probabilities | tolerance '
          '| blind |')
    print('|---|---|---|---|---|---|---|---|')
    good = [check(r) for r in RECIPES if not names or r.name in names]
    return 0 if all(good) else 1


def check(recipe: VisionRecipe) -> bool:
    """Print the row of one fixture and return whether it agrees with its golden numbers."""
    runner = open_runner(recipe)
    golden = load(recipe.name)
    features, numbers, blind = [], [], []
    for name, case in golden.cases.items():
        tiles = tiles_of(recipe, case)
        seen = see(runner, tiles)
        features.append(largest(seen - golden.features[name]))
        numbers.append(follow(runner, case, seen))
        if tiles:
            black = see(runner, [numpy.zeros_like(tile) for tile in tiles])
            blind.append(follow(runner, case, black))
    size = sum(path.stat().st_size for path in recipe.folder.rglob('*') if path.is_file())
    print(f'| `vision/{recipe.name}` | {recipe.what} | genai {recipe.builder} '
          f'| {size / 1000:.0f} | {max(features):.1e} | {max(numbers):.1e} '
          f'| {golden.tolerance:g} | {min(blind):.1f} |')
    return max(*features, *numbers) <= golden.tolerance


def open_runner(recipe: VisionRecipe) -> PlainVisionRunner:
    """Open the three graphs of `recipe`."""
    return PlainVisionRunner(
        recipe.folder / recipe.vision, recipe.folder / recipe.embedding,
        recipe.folder / recipe.decoder, TEXT['hidden_size'] // TEXT['num_attention_heads'],
        IMAGE_ID)


def tiles_of(recipe: VisionRecipe, case: VisionCase) -> Tiles:
    """Return the tiles of all pictures of a case, as transformers cut them."""
    resample = next(name for name, value in FILTERS.items() if value == recipe.resample)
    pixels = load_pixels()
    return [tile for size in case.pictures for tile in pixels[key(resample, *size)]]


def see(runner: PlainVisionRunner, tiles: Tiles) -> numpy.ndarray:
    """Return the features of all tiles, float32 [tokens, hidden]."""
    none = numpy.zeros((0, TEXT['hidden_size']), numpy.float32)
    return numpy.concatenate([none, *(runner.see(tile) for tile in tiles)])


def follow(runner: PlainVisionRunner, case: VisionCase, features: numpy.ndarray) -> float:
    """Return the largest difference of a log-probability along the greedy ids of a case."""
    row = runner.start(case.ids, features)
    differences = []
    for token, wanted in zip(case.greedy, case.log_probabilities, strict=True):
        differences.append(abs(float(row[token]) - wanted))
        row = runner.go_on(token)
    return max(differences)


def largest(difference: numpy.ndarray) -> float:
    """Return the largest absolute value, 0 for no values."""
    return float(numpy.abs(difference).max(initial=0.0))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
