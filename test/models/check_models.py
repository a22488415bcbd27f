#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Compare every fixture with its golden numbers and print the table of README.md.

It needs only numpy and onnxruntime. Each fixture is run in one call, in chunks of 7 ids and id by
id. The last column tells how far the numbers move when the states are dropped in the middle, which
is what a test sees of a broken cache.
"""

from pathlib import Path
import sys

from golden import Golden
from golden import load
from plain_runner import continue_greedily
from plain_runner import largest_difference
from plain_runner import PlainRunner
from plain_runner import score
from recipes import ALL_CHUNKS
from recipes import Recipe
from recipes import RECIPES

FOLDER = Path(__file__).parent


def main(names: list[str]) -> int:
    """Check the named fixtures, or all; return 1 when one misses its tolerance."""
    print('| fixture | what it is | exporter | kB | one call | chunks of 7 | id by id '
          '| tolerance | state lost |')
    print('|---|---|---|---|---|---|---|---|---|')
    good = [check(r) for r in RECIPES if not names or r.name in names]
    return 0 if all(good) else 1


def check(recipe: Recipe) -> bool:
    """Print the row of one fixture and return whether it agrees with its golden numbers."""
    golden = load(recipe.name)
    runner = PlainRunner(
        recipe.folder / 'model.onnx', recipe.head_size, recipe.memory_reuse)
    wanted = golden.log_probabilities
    differences = {
        n: largest_difference(score(runner, golden.ids, n), wanted) for n in recipe.chunks}
    size = sum(path.stat().st_size for path in recipe.folder.iterdir())
    cells = [
        f'`{recipe.folder.relative_to(FOLDER)}`', recipe.what,
        f'genai {recipe.builder}, {recipe.precision}',
        f'{size / 1000:.0f}',
        *(f'{differences[n]:.1e}' if n in differences else '-' for n in ALL_CHUNKS),
        f'{golden.tolerance:g}', f'{loss_of_state(runner, golden):.1f}' if differences else '-']
    print('| ' + ' | '.join(cells) + ' |')
    if not differences:
        return True
    greedy = continue_greedily(runner, golden.prompt, len(golden.greedy))
    if greedy != golden.greedy:
        print(f'{recipe.name}: greedy ids {greedy}, wanted {golden.greedy}', file=sys.stderr)
    return greedy == golden.greedy and max(differences.values()) <= golden.tolerance


def loss_of_state(runner: PlainRunner, golden: Golden) -> float:
    """Return how far a log-probability moves when the states are emptied after 24 ids."""
    half = len(golden.ids) // 2
    lost = score(runner, golden.ids[half:], half)
    return largest_difference(lost, golden.log_probabilities[half:])


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
