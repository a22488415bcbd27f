# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of models that see share: their fixtures, and pictures to show."""
from __future__ import annotations

from functools import lru_cache
from pathlib import Path
import struct
from typing import Any
import zlib

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.vision.image import encode
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.serving.turn import Turn
import onnxruntime
import pytest
from support import begin
from support import GREEDY
from support import MODELS

from pictures import picture  # noqa: I100
from vision_recipes import RECIPES

SEEING = 'lfm2-vl-past-conv'  # runs on every ONNX Runtime that is supported
NAMES = [recipe.name for recipe in RECIPES]
BY_NAME = {recipe.name: recipe for recipe in RECIPES}


def folder(name: str = SEEING) -> Path:
    """Return the folder of a fixture, or skip the test where ONNX Runtime is too old for it."""
    found = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
    if found < BY_NAME[name].onnxruntime:
        pytest.skip(f'{name} needs a newer ONNX Runtime')
    return MODELS / 'vision' / name


@lru_cache(maxsize=None)
def open_model(name: str = SEEING, **options: Any) -> Model:
    """Open a fixture once; what it holds does not change, its states do."""
    return Model(folder(name), ModelOptions(threads=1, **options))


def image(height: int = 90, width: int = 120, seed: int = 0) -> EncodedImage:
    """Return a picture as it may come in."""
    return EncodedImage(encode(picture(height, width, seed)))


def answer(mission: Mission, prompt: str, *images: EncodedImage, tokens: int = 4,
           aside: bool = False) -> Turn:
    """Do a turn as the scheduler does."""
    turn = begin(mission, prompt, GREEDY, Limits(tokens), aside=aside, images=images)
    for steps in (turn.prepare_images(), turn.steps()):
        for _ in steps:
            pass
    return turn


def png_of(width, height, data=b''):
    """Return a PNG file that claims a size, whatever is in it."""
    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + \
            struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + \
        chunk(b'IDAT', zlib.compress(data)) + chunk(b'IEND', b'')
