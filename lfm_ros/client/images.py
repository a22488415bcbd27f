# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images of any kind as ROS has them: numpy, Pillow, files and their bytes."""
from __future__ import annotations

from array import array
import io
import os
from pathlib import Path
from typing import Any

from lfm_ros.client.fields import refused
from lfm_ros.engine.vision.image_file import JPEG
from lfm_ros.engine.vision.image_file import name_of
from lfm_ros.engine.vision.image_file import PNG
from lfm_ros.errors import printable
import numpy as np
from PIL import Image as Picture
from PIL import ImageOps
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

TAKES = 'a file name, the bytes of a JPEG or PNG, an image of Pillow, an array of numpy or a ' \
    'message'
_HEAD = 64  # bytes by which a kind of file is known
_MODES = ('L', 'RGB', 'RGBA', 'I', 'F')  # of Pillow, which an array shows as they are
_ENCODINGS = {1: 'mono', 3: 'rgb', 4: 'rgba'}  # by the numbers of a pixel


def is_image(value: Any) -> bool:
    """Return whether a value is one image, and no list of them."""
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike, Picture.Image)):
        return True
    return hasattr(value, '__array__') and getattr(value, 'ndim', 0) < 4


def to_image(value: Any, where: str, compressed: bool = False) -> Image | CompressedImage:
    """
    Return the message of an image: what is encoded stays so.

    Arrays are ``[height, width]``, or have 1 (grey), 3 (RGB) or 4 (RGBA) numbers at the end, of
    uint8 or uint16.

    :param compressed: make a PNG of pixels, in which none changes.
    :raises TypeError, ValueError: when it is no image.
    """
    if isinstance(value, (str, os.PathLike)):
        return _encoded(_read(value, where), where)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _encoded(bytes(value), where)
    pixels = _pixels(value, where)
    return _encoded(_png(pixels, where), where) if compressed else _raw(pixels)


def _read(path: str | os.PathLike[str], where: str) -> bytes:
    try:
        with Path(path).expanduser().open('rb') as file:
            head = file.read(_HEAD)
            return head + (file.read() if name_of(head) in (JPEG, PNG) else b'')
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        reason = getattr(error, 'strerror', '') or str(error)
        raise ValueError(f'{where} names the file {printable(str(path), 200)!r}, which cannot be '
                         f'read ({reason}): check its name') from error


def _encoded(data: bytes, where: str) -> CompressedImage:
    kind = name_of(data)
    if kind not in (JPEG, PNG):
        raise ValueError(f'{where} takes JPEG and PNG, not {kind or "other"} bytes: open it with '
                         'PIL.Image.open() and give what that returns')
    return CompressedImage(format=kind.lower(), data=array('B', data))


def _pixels(value: Any, where: str) -> np.ndarray:
    """Return ``[height, width, 1, 3 or 4]`` of uint8 or uint16."""
    try:
        if isinstance(value, Picture.Image):
            upright = ImageOps.exif_transpose(value)  # as a file is shown
            is_plain = upright.mode in _MODES or upright.mode.startswith('I;16')
            value = upright if is_plain else upright.convert('RGB')
        elif not hasattr(value, '__array__'):
            raise refused(where, TAKES, value)
        found = np.asarray(value)
        if found.dtype == np.int32 and isinstance(value, Picture.Image):  # a PNG of 16 bits
            found = found.astype(np.uint16) if 0 <= found.min() <= found.max() < 1 << 16 else found
    except (ValueError, OSError, RuntimeError, SyntaxError) as error:  # a file cut off, a GPU
        raise ValueError(f'{where} has an image that cannot be read ({error}): check where it '
                         'comes from') from error
    if found.dtype not in (np.uint8, np.uint16):
        raise TypeError(f'{where} takes pixels of uint8 or uint16, not {found.dtype}: convert '
                        'them, 0.0 to 1.0 with (pixels * 255).astype(numpy.uint8) for instance')
    found = found[:, :, None] if found.ndim == 2 else found
    if found.ndim != 3 or found.shape[2] not in _ENCODINGS or not found.size:
        raise ValueError(f'{where} takes pixels as [height, width] or [height, width, 1, 3 or 4], '
                         f'not {list(found.shape)}: transpose or convert them')
    return found


def _raw(pixels: np.ndarray) -> Image:
    height, width, count = pixels.shape
    size = pixels.dtype.itemsize
    data = pixels.astype(pixels.dtype.newbyteorder('<'), order='C', copy=False).tobytes()
    return Image(height=height, width=width, encoding=f'{_ENCODINGS[count]}{8 * size}',
                 step=width * count * size, data=array('B', data))


def _png(pixels: np.ndarray, where: str) -> bytes:
    file = io.BytesIO()
    try:
        picture = Picture.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    except TypeError as error:
        raise TypeError(f'{where} takes colours of uint8, not {pixels.dtype}: put it into images '
                        'instead') from error
    picture.save(file, 'PNG', compress_level=1)
    return file.getvalue()
