# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Draw scenes as a camera may see them: other backgrounds, light, noise, blur and JPEG."""

import colorsys
import io
import math
import random

import numpy
from PIL import Image, ImageDraw, ImageFilter
from scenes import Gauge, Scene, Thing

Colour = tuple[int, int, int]
SUPERSAMPLING = 2
# Ranges of hue in degrees, saturation and value.
PALETTE = {
    'red': ((-8, 6), (0.8, 1.0), (0.7, 1.0)), 'orange': ((22, 33), (0.85, 1.0), (0.9, 1.0)),
    'yellow': ((50, 60), (0.75, 1.0), (0.85, 1.0)),
    'green': ((100, 145), (0.65, 1.0), (0.45, 0.85)),
    'blue': ((205, 238), (0.7, 1.0), (0.6, 1.0)), 'purple': ((272, 298), (0.6, 1.0), (0.45, 0.8)),
    'white': ((0, 360), (0.0, 0.04), (0.94, 1.0)), 'black': ((0, 360), (0.0, 0.3), (0.0, 0.1))}
# The needle of a gauge turns clockwise from 0 at the lower left to 100 at the lower right.
FIRST_ANGLE, SWEEP = 225.0, 270.0


def draw(scene: Scene) -> Image.Image:
    """Return the picture of a scene, the same one every time."""
    rng = random.Random(scene.look)
    noise = numpy.random.default_rng(scene.look)
    names = {thing.colour for thing in scene.things}
    picture = _background(rng, noise, scene.size, names)
    canvas = picture.resize((scene.size[0] * SUPERSAMPLING, scene.size[1] * SUPERSAMPLING),
                            Image.NEAREST)
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        colour = _shade(rng, *PALETTE[thing.colour])
        pen.polygon([(x * canvas.width, y * canvas.height)
                     for x, y in outline(thing, scene.size)], fill=colour)
    if scene.gauge is not None:
        _draw_gauge(pen, rng, scene.gauge, canvas.size)
    return _photograph(rng, noise, canvas.resize(scene.size, Image.BOX))


def _shade(rng: random.Random, hue: tuple[float, float], saturation: tuple[float, float],
           value: tuple[float, float]) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue) / 360 % 1.0,
                                           rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


def _background(rng: random.Random, noise: numpy.random.Generator, size: tuple[int, int],
                names: set[str]) -> Image.Image:
    """Return a background on which all the named colours can be told apart."""
    lightest = 0.72 if 'white' in names else 1.0
    darkest = 0.3 if 'black' in names else 0.0
    ground = _grounds(rng, lightest, darkest)
    width, height = size
    kind = rng.choice(('plain', 'plain', 'gradient', 'halves', 'blotches'))
    if kind == 'plain':
        return Image.new('RGB', size, ground[0])
    ends = numpy.array(ground, numpy.float32)
    if kind == 'blotches':
        small = noise.random((rng.randint(3, 8), rng.randint(3, 8)), numpy.float32)
        share = Image.fromarray(small).resize(size, Image.BICUBIC)
        mix = numpy.clip(numpy.asarray(share), 0.0, 1.0)
    else:
        angle = rng.uniform(0.0, 2.0 * math.pi)
        along = (numpy.linspace(-1, 1, width, dtype=numpy.float32)[None] * math.cos(angle)
                 + numpy.linspace(-1, 1, height, dtype=numpy.float32)[:, None] * math.sin(angle))
        mix = numpy.clip(0.5 + along / 2, 0.0, 1.0)
        if kind == 'halves':
            mix = (mix > rng.uniform(0.3, 0.7)).astype(numpy.float32)
    pixels = ends[0] + mix[..., None] * (ends[1] - ends[0])
    return Image.fromarray(pixels.astype(numpy.uint8))


def _grounds(rng: random.Random, lightest: float, darkest: float) -> tuple[Colour, Colour]:
    """Return two similar colours, grey or pale, that no thing has."""
    value = rng.choice((lightest, darkest, *3 * (rng.uniform(darkest, lightest),)))
    other = min(lightest, max(darkest, value + rng.uniform(-0.25, 0.25)))
    hue, saturation = rng.uniform(0, 360), rng.choice((0.0, rng.uniform(0.0, 0.22)))
    shades = [_shade(rng, (hue, hue + 20), (saturation, saturation), (each, each))
              for each in (value, other)]
    return shades[0], shades[1]


def outline(thing: Thing, size: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the corners of a thing in shares of the width and the height of a camera's size."""
    if thing.shape == 'circle':
        corners = [_polar(7.5 * i, 0.92) for i in range(48)]
    elif thing.shape == 'square':
        corners = [(0.78 * a, 0.78 * b) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    elif thing.shape == 'triangle':
        corners = [_polar(angle, 1.08) for angle in (-90, 30, 150)]
    elif thing.shape == 'star':
        corners = [_polar(36 * i - 90, 1.08 if i % 2 == 0 else 0.45) for i in range(10)]
    else:
        arm = 0.32
        corners = [(a * p, b * q) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))
                   for p, q in ((1, arm), (arm, arm), (arm, 1))[::a * b]]
    cosine, sine = _polar(thing.turn, thing.radius * min(size))
    return [(thing.x + (a * cosine - b * sine) / size[0],
             thing.y + (a * sine + b * cosine) / size[1]) for a, b in corners]


def needle(gauge: Gauge, size: tuple[int, int], length: float,
           turn: float = 0.0) -> tuple[float, float]:
    """Return a point on the needle of a gauge, or beside it, in shares of width and height."""
    angle = FIRST_ANGLE - SWEEP * gauge.value / 100 + turn
    across, down = _polar(-angle, length * gauge.radius * min(size))
    return gauge.x + across / size[0], gauge.y + down / size[1]


def _polar(angle: float, length: float) -> tuple[float, float]:
    return length * math.cos(math.radians(angle)), length * math.sin(math.radians(angle))


def _draw_gauge(pen: ImageDraw.ImageDraw, rng: random.Random, gauge: Gauge,
                size: tuple[int, int]) -> None:
    """Draw a dial with eleven marks and a needle."""
    x, y, radius = gauge.x * size[0], gauge.y * size[1], gauge.radius * min(size)
    light, dark = rng.randint(200, 255), rng.randint(0, 60)
    face, ink = (light, dark) if rng.random() < 0.7 else (dark, light)
    rim = rng.randint(60, 160)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(rim,) * 3)
    inner = 0.92 * radius
    pen.ellipse((x - inner, y - inner, x + inner, y + inner), fill=(face,) * 3)

    def at(angle: float, length: float) -> tuple[float, float]:
        across, down = _polar(-angle, length * radius)
        return x + across, y + down

    for mark in range(11):
        angle = FIRST_ANGLE - SWEEP * mark / 10
        pen.line((at(angle, 0.76), at(angle, 0.88)), fill=(ink,) * 3,
                 width=max(2, round(0.035 * radius)))
    red = (rng.randint(180, 230), rng.randint(0, 40), rng.randint(0, 40))
    colour = red if rng.random() < 0.6 else (ink,) * 3
    turn, thick = rng.uniform(-2.5, 2.5), rng.uniform(0.04, 0.08)
    corners = ((rng.uniform(0.62, 0.74), 0), (thick, 90), (0.12, 180), (thick, -90))
    pen.polygon([(px * size[0], py * size[1]) for px, py in (
        needle(gauge, size, length, turn + side) for length, side in corners)], fill=colour)
    hub = rng.uniform(0.06, 0.1) * radius
    pen.ellipse((x - hub, y - hub, x + hub, y + hub), fill=colour)


def _photograph(rng: random.Random, noise: numpy.random.Generator,
                picture: Image.Image) -> Image.Image:
    """Add what a camera adds: exposure, a cast of colour, blur, noise and JPEG artefacts."""
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(
            rng.uniform(0.0, 0.004) * min(picture.size)))
    if rng.random() < 0.7:
        gains = [rng.uniform(0.82, 1.08) * rng.uniform(0.97, 1.03) for _ in range(3)]
        mean = sum(gains) / 3
        gains = [mean + 0.3 * (gain - mean) for gain in gains]
        picture = picture.point([min(255, round(gain * i)) for gain in gains for i in range(256)])
    if rng.random() < 0.5:
        pixels = numpy.asarray(picture, numpy.float32)
        grain = noise.standard_normal(pixels.shape[:2], numpy.float32)[..., None]
        pixels = pixels + rng.uniform(1.0, 9.0) * grain
        picture = Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))
    if rng.random() < 0.5:
        file = io.BytesIO()
        picture.save(file, 'JPEG', quality=rng.randint(45, 95))
        picture = Image.open(file).convert('RGB')
    return picture
