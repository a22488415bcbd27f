# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep drawn scenes on disk, since drawing one takes longer than training on it."""

from multiprocessing import Pool
from pathlib import Path
import pickle
import random

from drawing import draw
import numpy
from pictures import cut, MOST_PATCHES, PATCH, PATCH_VALUES, Patches
from scenes import mirror, Scene, SceneMaker
from sights import Sight


def _draw_and_cut(scene: Scene) -> Patches:
    return cut(draw(scene))


def make_album(folder: Path, count: int, seed: int, processes: int) -> None:
    """Draw that many scenes for training into a folder."""
    maker = SceneMaker(random.Random(seed))
    scenes = [maker.scene() for _ in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    pixels = numpy.lib.format.open_memmap(
        folder / 'pixels.npy', 'w+', numpy.uint8, (count, MOST_PATCHES, PATCH_VALUES))
    grids = []
    with Pool(processes) as pool:
        for number, patches in enumerate(pool.imap(_draw_and_cut, scenes, chunksize=32)):
            pixels[number, :len(patches.values)] = patches.values
            grids.append((patches.rows, patches.columns))
    pixels.flush()
    (folder / 'scenes.pickle').write_bytes(pickle.dumps((scenes, grids)))


class Album:
    """Read drawn scenes in any order; half of them come mirrored."""

    def __init__(self, folder: Path) -> None:
        self.pixels = numpy.load(folder / 'pixels.npy', mmap_mode='r')
        self.scenes, self.grids = pickle.loads((folder / 'scenes.pickle').read_bytes())

    def draw(self, rng: random.Random) -> Sight:
        """Return any scene and its picture."""
        number = rng.randrange(len(self.scenes))
        scene, (rows, columns) = self.scenes[number], self.grids[number]
        values = self.pixels[number, :rows * columns]
        if rng.random() < 0.5:
            scene = mirror(scene)
            pixels = values.reshape(rows, columns, PATCH, PATCH, 3)[:, ::-1, :, ::-1]
            values = pixels.reshape(rows * columns, -1)
        return Sight(scene, Patches(values, rows, columns))
