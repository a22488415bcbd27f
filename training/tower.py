# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Teach the tower and the projector to see, before a language model looks through them.

Simple classifiers read the image features: from each feature what lies at its place, and from
any feature what the picture shows as a whole. A language model that starts with features in
which all this is easy to find learns to speak about them in minutes.
"""

from drawing import needle, outline
import numpy
from pictures import MOST_PATCHES
from PIL import Image, ImageDraw
from scenes import COLOURS, MOST_THINGS, Scene, SHAPES, ZONES
from sights import Sight
import torch
from torch import nn
import torch.nn.functional as functional

MOST_TOKENS = MOST_PATCHES // 4
IGNORED = -100
GAUGE = len(SHAPES)
VALUES = 11
# Points across a patch at which the tower has to tell whether something is there.
FINE = 4
# Classes of each question about a place; only the first and the last concern empty places too.
PLACE = {'filled': 2, 'shape': GAUGE + 1, 'colour': len(COLOURS), 'zone': len(ZONES),
         'value': VALUES, 'rank': MOST_THINGS + 1}
PLACE_WEIGHTS = {'shape': 3.0, 'value': 2.0, 'rank': 10.0}
# Classes of each question about the picture, 0 for nothing.
PICTURE = {**{f'count {shape}': MOST_THINGS + 1 for shape in SHAPES},
           **{f'colour {i}': len(COLOURS) + 1 for i in range(MOST_THINGS)},
           **{f'shape {i}': len(SHAPES) + 1 for i in range(MOST_THINGS)}, 'shown': VALUES + 1}


def place_labels(scene: Scene, rows: int, columns: int) -> dict[str, numpy.ndarray]:
    """Return the right class for each question and image token [MOST_TOKENS]."""
    across, down = numpy.meshgrid((numpy.arange(columns) + 0.5) / columns,
                                  (numpy.arange(rows) + 0.5) / rows)
    labels = {name: numpy.full((rows, columns), IGNORED) for name in PLACE}
    labels['filled'][:], labels['rank'][:] = 0, 0
    width, height = (side / min(scene.size) for side in scene.size)
    for rank, thing in enumerate(scene.things, 1):
        there = numpy.hypot((across - thing.x) * width, (down - thing.y) * height) < thing.radius
        centre = int(thing.y * rows), int(thing.x * columns)
        there[centre] = True
        labels['filled'][there] = 1
        labels['shape'][there] = SHAPES.index(thing.shape)
        labels['colour'][there] = COLOURS.index(thing.colour)
        labels['zone'][there] = ZONES.index(thing.zone)
        labels['rank'][centre] = rank
    if scene.gauge:
        gauge = scene.gauge
        there = numpy.hypot((across - gauge.x) * width, (down - gauge.y) * height) < gauge.radius
        labels['filled'][there] = 1
        labels['shape'][there] = GAUGE
        labels['value'][there] = gauge.value // 10
    padded = {}
    for name, values in labels.items():
        padded[name] = numpy.full(MOST_TOKENS, IGNORED)
        padded[name][:rows * columns] = values.ravel()
    return padded


def picture_labels(scene: Scene) -> dict[str, int]:
    """Return the right class for each question about the whole picture."""
    shapes = [thing.shape for thing in scene.things]
    labels = {f'count {shape}': shapes.count(shape) for shape in SHAPES}
    for i in range(MOST_THINGS):
        thing = scene.things[i] if i < len(scene.things) else None
        labels[f'colour {i}'] = COLOURS.index(thing.colour) + 1 if thing else 0
        labels[f'shape {i}'] = SHAPES.index(thing.shape) + 1 if thing else 0
    labels['shown'] = scene.gauge.value // 10 + 1 if scene.gauge else 0
    return labels


def outlines(scene: Scene, rows: int, columns: int) -> numpy.ndarray:
    """Return which points of each patch a thing or a needle covers [MOST_PATCHES, points]."""
    mask = Image.new('1', (columns * FINE, rows * FINE))
    pen = ImageDraw.Draw(mask)
    shapes = [outline(thing, scene.size) for thing in scene.things]
    if scene.gauge:
        shapes = [[needle(scene.gauge, scene.size, length) for length in (0.0, 0.68)]]
    for corners in shapes:
        pen.polygon([(x * mask.width, y * mask.height) for x, y in corners], fill=1, outline=1)
    points = numpy.asarray(mask).reshape(rows, FINE, columns, FINE).swapaxes(1, 2)
    padded = numpy.zeros((MOST_PATCHES, FINE * FINE), numpy.float32)
    padded[:rows * columns] = points.reshape(rows * columns, -1)
    return padded


class Readers(nn.Module):
    """
    One linear classifier per question; they are thrown away after the training.

    They read the image features, but for the outlines, which are found halfway up the tower.
    """

    def __init__(self, tower: int, hidden: int) -> None:
        super().__init__()
        self.outline = nn.Linear(tower, FINE * FINE)
        self.place = nn.Linear(hidden, sum(PLACE.values()))
        self.picture = nn.Linear(hidden, sum(PICTURE.values()))

    def forward(self, halfway: torch.Tensor, features: torch.Tensor,
                sights: list[Sight]) -> torch.Tensor:
        """Return the loss of the states of pictures."""
        drawn = torch.from_numpy(numpy.stack([
            outlines(scene, patches.rows, patches.columns) for scene, patches in sights]))
        total = 10.0 * functional.binary_cross_entropy_with_logits(
            self.outline(halfway).float(), drawn)
        labels = [place_labels(scene, patches.rows // 2, patches.columns // 2)
                  for scene, patches in sights]
        filled = torch.from_numpy(numpy.stack([label['rank'] for label in labels])) != IGNORED
        for name, logits in zip(PLACE, self.place(features).split(list(PLACE.values()), -1)):
            targets = torch.from_numpy(numpy.stack([label[name] for label in labels]))
            chosen = targets != IGNORED
            if chosen.any():
                total = total + PLACE_WEIGHTS.get(name, 1.0) * functional.cross_entropy(
                    logits[chosen].float(), targets[chosen])
        whole = [picture_labels(sight.scene) for sight in sights]
        seen = self.picture(features[filled])
        for name, logits in zip(PICTURE, seen.split(list(PICTURE.values()), -1)):
            answers = torch.tensor([label[name] for label in whole])
            targets = answers[:, None].expand(filled.shape)[filled]
            total = total + functional.cross_entropy(logits.float(), targets) / 4
        return total
