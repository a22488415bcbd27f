# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Golden numbers of a fixture that sees: what transformers computes in fp32, without a cache.

They need only numpy to be read. Pictures are `pictures.picture(height, width)`; the pixels which
the encoder gets for them are in `pixel_golden.py`, under the same settings.
"""

from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path

import numpy

FOLDER = Path(__file__).parent / 'goldens'
ASK = 'What do you see?'

# Cases by name: the height and width of each picture of the prompt.
CASES: dict[str, list[tuple[int, int]]] = {
    'small': [(90, 120)], 'wide': [(150, 400)], 'tall': [(420, 200)],
    'two': [(90, 120), (420, 200)], 'none': []}


@dataclass(frozen=True)
class VisionCase:
    """
    One prompt and what follows it.

    :param pictures: height and width of each picture of the prompt
    :param grids: rows and columns of tiles of each picture
    :param spatial_shapes: rows and columns of patches of each tile, thumbnails included
    :param tokens: number of image tokens of each tile, thumbnails included
    :param text: the prompt as the chat template renders it, `<image>` for each picture
    :param ids: its ids, with all image tokens
    :param greedy: the 4 most probable ids after the prompt, one after another
    :param log_probabilities: natural logarithm of the probability of each of these
    :param margin: smallest lead, in log-probability, of a greedy id over the runner-up
    """

    pictures: list[list[int]]
    grids: list[list[int]]
    spatial_shapes: list[list[int]]
    tokens: list[int]
    text: str
    ids: list[int]
    greedy: list[int]
    log_probabilities: list[float]
    margin: float


@dataclass(frozen=True)
class VisionGolden:
    """
    What every way of running a fixture must reproduce.

    :param cases: by name, as in `CASES`
    :param features: image features of each case, float32 [sum of its tokens, hidden]
    :param logits: logits of the last id of each prompt, float32 [vocabulary]
    :param tolerance: largest allowed difference of a log-probability or of a feature
    """

    cases: dict[str, VisionCase]
    features: dict[str, numpy.ndarray]
    logits: dict[str, numpy.ndarray]
    tolerance: float

    def save(self, name: str) -> None:
        """Write `goldens/<name>.json` and the arrays as `goldens/<name>.npz`."""
        cases = {case: asdict(value) for case, value in self.cases.items()}
        (FOLDER / f'{name}.json').write_text(
            json.dumps({'tolerance': self.tolerance, 'cases': cases}) + '\n')
        arrays = {f'{case}.features': value for case, value in self.features.items()}
        arrays.update((f'{case}.logits', value) for case, value in self.logits.items())
        numpy.savez_compressed(FOLDER / f'{name}.npz', **arrays)


def load(name: str) -> VisionGolden:
    """Return the golden numbers of the fixture `name`."""
    numbers = json.loads((FOLDER / f'{name}.json').read_text())
    with numpy.load(FOLDER / f'{name}.npz') as arrays:
        features, logits = (
            {case: arrays[f'{case}.{kind}'] for case in numbers['cases']}
            for kind in ('features', 'logits'))
    cases = {case: VisionCase(**value) for case, value in numbers['cases'].items()}
    return VisionGolden(cases, features, logits, numbers['tolerance'])
