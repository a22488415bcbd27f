# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images of sensor_msgs as sources for the model, with the encodings of image_encodings.hpp."""
from __future__ import annotations

from lfm_ros.engine.vision.image import check_size
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.engine.vision.image import invalid
from lfm_ros.engine.vision.image import PIXEL_MEMORY
import numpy as np
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

# Bytes of a number, numbers of a pixel, and which of them are red, green and blue.
_PLAIN = {
    'rgb8': (1, 3, (0, 1, 2)), 'bgr8': (1, 3, (2, 1, 0)), '8UC3': (1, 3, (2, 1, 0)),
    'rgba8': (1, 4, (0, 1, 2)), 'bgra8': (1, 4, (2, 1, 0)), '8UC4': (1, 4, (2, 1, 0)),
    'mono8': (1, 1, (0, 0, 0)), '8UC1': (1, 1, (0, 0, 0)), 'mono16': (2, 1, (0, 0, 0)),
    'rgb16': (2, 3, (0, 1, 2)), 'bgr16': (2, 3, (2, 1, 0)),
    'rgba16': (2, 4, (0, 1, 2)), 'bgra16': (2, 4, (2, 1, 0)),
}
# Where in four bytes the first luma, blue, the second luma and red are.
_YUV = {'yuv422': (1, 0, 3, 2), 'uyvy': (1, 0, 3, 2), 'yuv422_yuy2': (0, 1, 2, 3),
        'yuyv': (0, 1, 2, 3)}
_BAYER = {f'bayer_{order}{8 * size}': (order, size)
          for order in ('rggb', 'bggr', 'gbrg', 'grbg') for size in (1, 2)}
# Bilinear interpolation of a colour that every fourth pixel has, and of one that every second has.
_QUARTER = ((1, 2, 1), (2, 4, 2), (1, 2, 1))
_HALF = ((0, 1, 0), (1, 4, 1), (0, 1, 0))
STRIP = 64  # rows, an even number


class RawFrame:
    """
    A ``sensor_msgs/Image``.

    :raises LfmError: INVALID_IMAGE, when it contradicts itself or has an unknown encoding.
    """

    ready = True

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes while it waits."""
        return len(self._message.data)

    def __init__(self, message: Image) -> None:
        self.header = message.header
        self._message = message
        width, height, step = message.width, message.height, message.step
        check_size(width, height)
        least = width * _pixel_bytes(message.encoding, width)
        if step < least:
            raise invalid(f'a row of an image of {width} {message.encoding} pixels has {least} '
                          f'bytes but its step is {step}: correct the step')
        if len(message.data) < height * step:
            raise invalid(f'an image has {len(message.data)} bytes of data but {height} rows of '
                          f'{step}: send all of it')

    @property
    def memory(self) -> int:
        """Return about how many bytes it takes to convert and resize it."""
        return PIXEL_MEMORY * self._message.width * self._message.height

    def pixels(self) -> np.ndarray:
        """Return it as uint8 RGB ``[height, width, 3]``."""
        return to_rgb(self._message)


class CompressedFrame(EncodedImage):
    """A ``sensor_msgs/CompressedImage``, JPEG or PNG whatever its format says."""

    def __init__(self, message: CompressedImage) -> None:
        super().__init__(bytes(message.data))
        self.header = message.header


def to_rgb(message: Image) -> np.ndarray:
    """
    Return the pixels of a message that was checked.

    :returns: uint8 ``[height, width, 3]``; of 16 bits the upper 8.
    """
    width, height, encoding = message.width, message.height, message.encoding
    rows = np.frombuffer(message.data, np.uint8, height * message.step)
    rows = rows.reshape(height, message.step)
    if encoding in _YUV or encoding in _BAYER:
        # Some rows at a time: colours are computed in float32. A mosaic needs its neighbours.
        found = np.empty((height, width, 3), np.uint8)
        for low in range(0, height, STRIP):
            first, last = max(0, low - 2), low + STRIP
            if encoding in _YUV:
                quads = rows[first:last + 2, :2 * width].reshape(-1, width // 2, 4)
                strip = _from_yuv(quads, _YUV[encoding])
            else:
                order, size = _BAYER[encoding]
                strip = _demosaic(_numbers(rows[first:last + 2], width, size,
                                           message.is_bigendian), order)
            found[low:last] = strip[low - first:][:STRIP]
        return found
    size, count, order = _PLAIN[encoding]
    values = _numbers(rows, width * count, size, message.is_bigendian)
    return values.reshape(height, width, count)[:, :, order]


def _pixel_bytes(encoding: str, width: int) -> int:
    if encoding in _YUV:
        if width % 2:
            raise invalid(f'an image in {encoding} is {width} pixels wide: it must be even')
        return 2
    if encoding in _BAYER:
        return _BAYER[encoding][1]
    if encoding in _PLAIN:
        return _PLAIN[encoding][0] * _PLAIN[encoding][1]
    raise invalid(f'an image has the encoding {encoding[:40]!r}: send one of '
                  f'{", ".join([*_PLAIN, *_YUV, *_BAYER])}')


def _numbers(rows: np.ndarray, count: int, size: int, is_bigendian: int) -> np.ndarray:
    """Return the first numbers of every row as uint8."""
    used = rows[:, :count * size]
    return used if size == 1 else used[:, 0 if is_bigendian else 1::2]


def _from_yuv(quads: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """Return RGB of two pixels in four bytes, ITU-R BT.601 in video range, as OpenCV does."""
    first, blue, second, red = (quads[:, :, p].astype(np.float32) for p in places)
    luma = 1.164 * (np.stack([first, second], axis=2).reshape(len(quads), -1) - 16)
    u, v = (np.repeat(plane - 128, 2, axis=1) for plane in (blue, red))
    colours = (luma + 1.596 * v, luma - 0.813 * v - 0.391 * u, luma + 2.018 * u)
    return np.stack(colours, axis=2).round().clip(0, 255).astype(np.uint8)


def _demosaic(values: np.ndarray, order: str) -> np.ndarray:
    """Return RGB of a mosaic by bilinear interpolation."""
    planes = []
    for colour, kernel in zip('rgb', (_QUARTER, _HALF, _QUARTER)):
        known = np.zeros(values.shape, np.float32)
        for place in (n for n in range(4) if order[n] == colour):
            known[place // 2::2, place % 2::2] = 1
        sums, weights = (_convolve(plane, kernel) for plane in (values * known, known))
        # An image of one row lacks a colour.
        planes.append(np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0))
    return np.stack(planes, axis=2).round().astype(np.uint8)


def _convolve(plane: np.ndarray, kernel: tuple[tuple[int, ...], ...]) -> np.ndarray:
    height, width = plane.shape
    padded = np.pad(plane, 1)
    found = np.zeros(plane.shape, np.float32)
    for y, weights in enumerate(kernel):
        for x, weight in enumerate(weights):
            if weight:
                found += weight * padded[y:y + height, x:x + width]
    return found
