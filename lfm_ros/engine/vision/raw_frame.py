# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ``sensor_msgs/Image`` as a source, with the encodings of image_encodings.hpp."""
from __future__ import annotations

import re
from typing import Any

from lfm_ros.engine.vision.colours import demosaic
from lfm_ros.engine.vision.colours import from_yuv
from lfm_ros.engine.vision.image import check_size
from lfm_ros.engine.vision.image import invalid
from lfm_ros.engine.vision.image import memory_for
from lfm_ros.engine.vision.mono16 import AUTO
from lfm_ros.engine.vision.mono16 import from_16_bits
import numpy as np

# Numbers of a pixel, and which of them are red, green and blue.
_COLOURS = {
    'rgb8': (3, (0, 1, 2)), 'bgr8': (3, (2, 1, 0)), '8UC3': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)), 'bgra8': (4, (2, 1, 0)), '8UC4': (4, (2, 1, 0)),
    'rgb16': (3, (0, 1, 2)), 'bgr16': (3, (2, 1, 0)), '16UC3': (3, (2, 1, 0)),
    'rgba16': (4, (0, 1, 2)), 'bgra16': (4, (2, 1, 0)), '16UC4': (4, (2, 1, 0)),
}
_GREY = ('mono8', '8UC1', 'mono16', '16UC1')
# Where the first luma, blue and red are in the four bytes of two pixels.
_YUV = {'yuv422': (1, 0, 2), 'uyvy': (1, 0, 2), 'yuv422_yuy2': (0, 1, 3), 'yuyv': (0, 1, 3)}
# Two planes, luma and colours: of how many pixels in a line one has colours, which one is blue.
_PLANES = {'nv12': (2, 0), 'nv21': (2, 1), 'nv24': (1, 0)}
BAYER = {f'bayer_{order}{bits}': order
         for bits in (8, 16) for order in ('rggb', 'bggr', 'gbrg', 'grbg')}
_NUMBERS = re.compile(r'(8|16|32|64)[USF]C\d*')


class RawFrame:
    """
    A ``sensor_msgs/Image``.

    :param message: the message, or anything with its fields.
    :param mono16_range: values of an image of 16 bits that are black and white, see
        :func:`lfm_ros.engine.vision.mono16.from_16_bits`.
    :raises LfmError: INVALID_IMAGE, when it contradicts itself or has an unknown encoding.
    """

    ready = True

    def __init__(self, message: Any, mono16_range: tuple[int, int] = AUTO) -> None:
        self.header = message.header
        self.notice = ''
        self._message = message
        self._range = mono16_range
        width, height = message.width, message.height
        check_size(width, height)
        self._row_bytes = _row_bytes(message.encoding, width)
        if message.step < self._row_bytes:
            raise invalid(f'a row of an image of {width} {message.encoding} pixels has '
                          f'{self._row_bytes} bytes but its step is {message.step}: correct the '
                          'step')
        self._planes = [(0, height, self._row_bytes, message.step)]
        if message.encoding in _PLANES:
            self._planes = self._find_planes()
        start, rows, row_bytes, step = self._planes[-1]
        # The last row of some cameras is not padded.
        if len(message.data) < start + (rows - 1) * step + row_bytes:
            raise invalid(f'an image has {len(message.data)} bytes of data but {height} rows of '
                          f'{message.step}' + ', and then colours' * (len(self._planes) > 1) +
                          ': send all of it')

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes while it waits."""
        return len(self._message.data)

    @property
    def memory(self) -> int:
        """Return about how many bytes it takes to convert and resize it."""
        return memory_for(self._message.width, self._message.height)

    def pixels(self) -> np.ndarray:
        """
        Return it as uint8 RGB ``[height, width, 3]``, or grey ``[height, width, 1]``.

        It is one block in memory: that of the message, where its bytes are in that order.
        """
        encoding = self._message.encoding
        if encoding in _PLANES:
            return self._from_planes()
        rows = self._plane(0)
        if encoding in _YUV:
            luma, blue, red = _YUV[encoding]
            return from_yuv(rows[:, luma::2], rows[:, blue::4], rows[:, red::4])
        if encoding in _COLOURS:
            return self._pick_colours(rows)
        values = self._numbers(rows)
        if values.dtype == np.uint16:
            values, self.notice = from_16_bits(values, self._range)
        if encoding in BAYER:
            return demosaic(values, BAYER[encoding])
        return np.ascontiguousarray(values)[:, :, None]

    def _pick_colours(self, rows: np.ndarray) -> np.ndarray:
        count, order = _COLOURS[self._message.encoding]
        if rows.shape[1] > count * self._message.width:  # of 16 bits the upper 8
            rows = rows[:, 0 if self._message.is_bigendian else 1::2]
        values = rows.reshape(len(rows), -1, count)
        if order == (0, 1, 2):
            return np.ascontiguousarray(values[:, :, :3])
        found = np.empty((*values.shape[:2], 3), np.uint8)
        for place, colour in enumerate(order):
            found[:, :, place] = values[:, :, colour]
        return found

    def _from_planes(self) -> np.ndarray:
        pairs = self._plane(1)
        blue = _PLANES[self._message.encoding][1]
        return from_yuv(self._plane(0), pairs[:, blue::2], pairs[:, 1 - blue::2])

    def _find_planes(self) -> list[tuple[int, int, int, int]]:
        """Return where each plane begins, its rows, the bytes of a row and its step."""
        width, height, step = self._message.width, self._message.height, self._message.step
        every = _PLANES[self._message.encoding][0]
        rows, row_bytes = -(-height // every), -(-width // every) * 2
        if len(self._message.data) == width * height + rows * row_bytes:
            step = width  # not padded, whatever some drivers count as a row
        pair_step = max(row_bytes, 2 * step // every)
        return [(0, height, width, step), (height * step, rows, row_bytes, pair_step)]

    def _plane(self, number: int) -> np.ndarray:
        """Return the rows of a plane as bytes, without their padding; nothing is copied."""
        start, rows, row_bytes, step = self._planes[number]
        return np.lib.stride_tricks.as_strided(
            np.frombuffer(self._message.data, np.uint8)[start:], (rows, row_bytes), (step, 1),
            writeable=False)

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        """Return one number of each pixel, uint8 or uint16."""
        if rows.shape[1] == self._message.width:
            return rows
        kind = '>u2' if self._message.is_bigendian else '<u2'
        return np.ascontiguousarray(rows).view(kind).astype(np.uint16, copy=False)


def _row_bytes(encoding: str, width: int) -> int:
    """Return the bytes of a row without padding; of luma, where colours are in another plane."""
    if encoding in _YUV:
        if width % 2:
            raise invalid(f'an image in {encoding} is {width} pixels wide: it must be even')
        return 2 * width
    if encoding in _PLANES:
        return width
    size = 2 if '16' in encoding else 1
    if encoding in BAYER or encoding in _GREY:
        return size * width
    if encoding in _COLOURS:
        return size * width * _COLOURS[encoding][0]
    if _NUMBERS.fullmatch(encoding):
        raise invalid(f'an image in {encoding[:40]} has numbers that are no colours, such as '
                      'distances in metres: convert it to 16UC1 (millimetres) or mono8, or send '
                      'the image of a colour camera')
    raise invalid(f'an image has the encoding {encoding[:40]!r}: send one of '
                  f'{", ".join([*_COLOURS, *_GREY, *_YUV, *_PLANES])}, bayer_* of 8 or 16 bits')
