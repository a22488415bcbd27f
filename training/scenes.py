# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make scenes for a camera: coloured shapes or a gauge, and what is true about them.

Needs the Python standard library only; `drawing.py` turns a scene into a picture.
"""

import random
from typing import NamedTuple, Optional

SHAPES = ('circle', 'square', 'triangle', 'star', 'cross')
COLOURS = ('red', 'blue', 'green', 'yellow', 'white', 'black', 'orange', 'purple')
# Width and height of the cameras; most are small because these are quicker to draw.
CAMERAS = ((320, 240), (320, 240), (256, 256), (240, 320), (424, 240), (400, 300), (300, 200),
           (640, 480), (640, 480), (640, 360), (848, 480), (480, 640), (224, 224), (160, 120),
           (1280, 720))
ZONES = ('at the top left', 'at the top', 'at the top right', 'on the left', 'in the middle',
         'on the right', 'at the bottom left', 'at the bottom', 'at the bottom right')
MOST_THINGS = 2


class Thing(NamedTuple):
    """A coloured shape; centre in shares of width and height, radius of the shorter side."""

    colour: str
    shape: str
    x: float
    y: float
    radius: float
    turn: float

    @property
    def zone(self) -> str:
        """Return in which ninth of the picture the centre lies."""
        return ZONES[3 * min(2, int(3 * self.y)) + min(2, int(3 * self.x))]


class Gauge(NamedTuple):
    """A dial with a needle that shows 0, 10, ... or 100."""

    value: int
    x: float
    y: float
    radius: float


class Scene(NamedTuple):
    """What a camera of a size in pixels sees, from left to right; `look` seeds the rest."""

    size: tuple[int, int]
    things: tuple[Thing, ...]
    gauge: Optional[Gauge]
    look: int


def mirror(scene: Scene) -> Scene:
    """Return the scene with left and right exchanged."""
    things = tuple(thing._replace(x=1.0 - thing.x, turn=-thing.turn)
                   for thing in reversed(scene.things))
    gauge = scene.gauge and scene.gauge._replace(x=1.0 - scene.gauge.x,
                                                 value=100 - scene.gauge.value)
    return scene._replace(things=things, gauge=gauge)


class SceneMaker:
    """Make scenes."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def scene(self) -> Scene:
        """Return a scene: one in five is a gauge, the others have up to two things."""
        rng = self.rng
        size = rng.choice(CAMERAS)
        look = rng.getrandbits(32)
        if rng.random() < 0.2:
            return Scene(size, (), self._gauge(size), look)
        count = rng.choices(range(MOST_THINGS + 1), (3, 45, 52))[0]
        return Scene(size, self._things(size, count), None, look)

    def _gauge(self, size: tuple[int, int]) -> Gauge:
        radius = self.rng.uniform(0.3, 0.46)
        across, down = (radius * min(size) / side for side in size)
        return Gauge(10 * self.rng.randint(0, 10), self.rng.uniform(across, 1 - across),
                     self.rng.uniform(down, 1 - down), radius)

    def _things(self, size: tuple[int, int], count: int) -> tuple[Thing, ...]:
        """Return things that do not touch, whose places and order are clear."""
        things: list[Thing] = []
        alike = self.rng.random() < 0.2
        failures = 0
        while len(things) < count:
            thing = self._thing(size, things[0].shape if alike and things else None)
            if all(_apart(thing, other, size) for other in things):
                things.append(thing)
            failures += 1
            if failures > 200:
                things, failures = [], 0
        return tuple(sorted(things, key=lambda thing: thing.x))

    def _thing(self, size: tuple[int, int], shape: Optional[str]) -> Thing:
        rng = self.rng
        radius = rng.uniform(0.15, 0.2)
        across, down = (1.05 * radius * min(size) / side for side in size)
        while True:
            x, y = rng.uniform(across, 1 - across), rng.uniform(down, 1 - down)
            if all(abs(place - border) > 0.03 for place in (x, y) for border in (1 / 3, 2 / 3)):
                return Thing(rng.choice(COLOURS), shape or rng.choice(SHAPES), x, y, radius,
                             rng.uniform(-20, 20))


def _apart(one: Thing, other: Thing, size: tuple[int, int]) -> bool:
    width, height = (side / min(size) for side in size)
    distance = ((one.x - other.x) * width) ** 2 + ((one.y - other.y) * height) ** 2
    clear = distance > (1.15 * (one.radius + other.radius)) ** 2
    return clear and abs(one.x - other.x) > 0.06
