# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
CPU time from a camera's message to the patches that the vision encoder takes.

    PYTHONPATH=. python bench/frames.py [--before FOLDER] [--rounds N]

Beside it is the same work with Pillow (colours and resizing), and with OpenCV where it is
installed, then the same PNG and patches. Each figure is the median of the rounds; the rounds of
all, and of another working tree (``--before``), take turns. "malloc" is the allocator as the node
sets it.
"""
from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
import json
import os
from pathlib import Path
from statistics import median
import subprocess
import sys
import time

SIZES = ((640, 480), (1280, 720), (4000, 3000))
ENCODINGS = ('rgb8', 'bgr8', 'mono8', 'yuv422')
BYTES = {'rgb8': 3, 'bgr8': 3, 'mono8': 1, 'yuv422': 2}


def measure(by: str, width: int, height: int, encoding: str) -> float:
    """Return the seconds of CPU time of one frame."""
    from lfm_ros.engine.vision.image_processor import ImageProcessor
    from lfm_ros.engine.vision.image_processor import ImageSettings
    from lfm_ros.engine.vision.raw_frame import RawFrame
    import numpy as np
    from sensor_msgs.msg import Image
    message = Image(width=width, height=height, encoding=encoding, step=BYTES[encoding] * width)
    rng = np.random.Generator(np.random.PCG64(1))
    small = rng.integers(0, 256, (height // 16, width // 16 * BYTES[encoding]), np.uint8)
    message.data.frombytes(small.repeat(16, 0).repeat(16, 1)[:height].tobytes())
    missing = height * message.step - len(message.data)
    message.data.frombytes(bytes(missing))
    processor = ImageProcessor(ImageSettings())
    steps: dict[str, Callable[[], object]] = {
        'ours': lambda: [processor.patches(c) for c in
                         processor.prepare(RawFrame(message).pixels()).crops()],
        'Pillow': lambda: with_pillow(processor, message),
        'OpenCV': lambda: with_opencv(processor, message)}
    started = time.process_time()
    steps[by]()
    return time.process_time() - started


def with_pillow(processor, message) -> list:  # type: ignore[no-untyped-def]
    """Do the same with Pillow, which knows no yuv422."""
    import numpy as np
    from PIL import Image
    mode, raw = {'rgb8': ('RGB', 'RGB'), 'bgr8': ('RGB', 'BGR'), 'mono8': ('L', 'L')}[
        message.encoding]
    image = Image.frombuffer(mode, (message.width, message.height), message.data, 'raw', raw,
                             message.step, 1)
    return finish(processor, message, lambda height, width: np.asarray(
        image.resize((width, height), Image.Resampling.BILINEAR).convert('RGB')))


def with_opencv(processor, message) -> list:  # type: ignore[no-untyped-def]
    """Do the same with OpenCV."""
    import cv2
    import numpy as np
    code = {'bgr8': cv2.COLOR_BGR2RGB, 'mono8': cv2.COLOR_GRAY2RGB,
            'yuv422': cv2.COLOR_YUV2RGB_UYVY}.get(message.encoding)
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)
    if code is not None:
        pixels = cv2.cvtColor(pixels, code)
    return finish(processor, message, lambda height, width: cv2.resize(
        pixels, (width, height), interpolation=cv2.INTER_AREA))


def finish(processor, message, resized) -> list:  # type: ignore[no-untyped-def]
    """Pack the tiles and the thumbnail as the node does, and cut patches."""
    from lfm_ros.engine.vision.image import encode
    from lfm_ros.engine.vision.image import PreparedImage
    height, width, side = message.height, message.width, processor.settings.tile_size
    rows, columns = processor.grid(height, width)
    whole = processor.resized(height, width)
    if rows * columns == 1:
        prepared = PreparedImage(1, 1, 1, encode(resized(*whole)))
    else:
        prepared = PreparedImage(1, rows, columns, encode(resized(side * rows, side * columns)),
                                 encode(resized(*whole)))
    return [processor.patches(crop) for crop in prepared.crops()]


def rounds_of(by: str, malloc: bool) -> str:
    """Return the figures of one round as JSON; this runs in a process of its own."""
    if malloc:
        from lfm_ros.process import return_large_memory
        return_large_memory()
    found = {}
    for width, height in SIZES:
        for encoding in ENCODINGS:
            if (by, encoding) == ('Pillow', 'yuv422'):
                continue
            measure(by, width, height, encoding)  # code and tables are loaded
            repeats = 1 if width > 2000 else 3
            found[f'{width}x{height} {encoding}'] = median(
                measure(by, width, height, encoding) for _ in range(repeats))
    return json.dumps(found)


def main() -> int:
    """Measure and print a table of milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--before', type=Path, help='another working tree, to compare with')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(rounds_of(arguments.one[0], arguments.one[1] == 'True'))
        return 0
    here = Path(__file__).parents[1]
    runs = [('now', 'ours', False, here), ('now, malloc', 'ours', True, here),
            ('Pillow', 'Pillow', False, here), ('Pillow, malloc', 'Pillow', True, here)]
    if arguments.before:
        runs = [('before', 'ours', False, arguments.before),
                ('before, malloc', 'ours', True, arguments.before), *runs]
    try:
        import cv2  # noqa: F401
    except ImportError:
        pass
    else:
        runs += [('OpenCV', 'OpenCV', False, here), ('OpenCV, malloc', 'OpenCV', True, here)]
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(arguments.rounds):
        for name, by, malloc, tree in runs:
            output = subprocess.run(
                [sys.executable, __file__, '--one', by, str(malloc)], check=True, text=True,
                stdout=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(tree)}).stdout
            for what, seconds in json.loads(output).items():
                found[what][name].append(seconds)
    names = [name for name, *_ in runs]
    print('| ms of CPU | ' + ' | '.join(names) + ' |\n|---|' + '---:|' * len(names))
    for what, figures in found.items():
        print(f'| {what} | ' + ' | '.join(
            f'{1000 * median(figures[name]):.0f}' if figures[name] else '-' for name in names)
            + ' |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
