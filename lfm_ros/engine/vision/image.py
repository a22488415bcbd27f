# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An image as a model gets it, small enough to be stored with the mission."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import hashlib
import io
from typing import Protocol

from lfm_ros.engine.vision.image_file import image_size
from lfm_ros.engine.vision.image_file import strip
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
import numpy as np
from PIL import Image

MAX_PIXELS = 64_000_000  # of an image that comes in; a camera of a robot has 1 to 12 million
MAX_SIDE = 65_535  # as JPEG allows; every row of pixels takes memory of its own beside them
MAX_TILES = 100  # of an image; a tokenizer has tags for so many
PIXEL_MEMORY = 16  # bytes per pixel that decoding and resizing take; Pillow has 4 per copy


# How to turn an image of each orientation of EXIF to see it upright.
_TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
          4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
          6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
          8: Image.Transpose.ROTATE_90}


class ImageSource(Protocol):
    """An image on its way in; it is only decoded where the model runs."""

    @property
    def ready(self) -> bool:
        """Whether it has arrived, or never will."""

    @property
    def nbytes(self) -> int:
        """The bytes that it takes while it waits."""

    @property
    def memory(self) -> int:
        """About how many bytes decoding and resizing take for a moment."""

    def pixels(self) -> np.ndarray:
        """
        Return it as uint8 RGB ``[height, width, 3]``.

        :raises LfmError: INVALID_IMAGE, NO_CAMERA_FRAME, STALE_IMAGE.
        """


@dataclass
class EncodedImage:
    """The bytes of a JPEG or PNG file."""

    data: bytes
    ready = True

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes while it waits."""
        return len(self.data)

    @property
    def memory(self) -> int:
        """Return about how many bytes it takes to decode and resize it, by its header."""
        try:
            width, height = image_size(self.data)
            return PIXEL_MEMORY * width * height
        except ValueError:  # decode() raises the error
            return 0

    def pixels(self) -> np.ndarray:
        """Return its pixels, see :func:`decode`."""
        return decode(self.data)


@dataclass(frozen=True)
class PreparedImage:
    """
    The pixels that a model gets of one image, after the image was resized.

    Its features are computed from nothing else: a mission that is restored years later, with
    other settings, gets the same image. PNG keeps them exactly and any viewer shows them.

    :param tokens: how many image tokens stand for it.
    :param rows: of tiles; ``columns`` likewise; 1 and 1: it was not cut.
    :param main: PNG of all tiles as one image.
    :param thumbnail: PNG of the whole image as one tile, which comes last; empty: there is none.
    """

    tokens: int
    rows: int
    columns: int
    main: bytes
    thumbnail: bytes = b''

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of all that is in it."""
        sizes = f'{self.tokens} {self.rows} {self.columns} {len(self.main)} '
        found = hashlib.sha256(sizes.encode())
        found.update(self.main)
        found.update(self.thumbnail)
        return found.hexdigest()

    @property
    def nbytes(self) -> int:
        """Return the memory that it takes."""
        return len(self.main) + len(self.thumbnail)

    @property
    def tiles(self) -> int:
        """Return how many images the encoder gets, the thumbnail included."""
        return self.rows * self.columns + bool(self.thumbnail)

    def crops(self) -> list[np.ndarray]:
        """
        Return the tiles row by row, then the thumbnail: uint8 RGB ``[height, width, 3]``.

        :raises LfmError: INVALID_IMAGE, when what was kept is damaged.
        """
        grid = decode(self.main)
        if grid.shape[0] % self.rows or grid.shape[1] % self.columns or \
                self.rows * self.columns > MAX_TILES:
            raise invalid('a kept image is damaged: delete the mission')
        height, width = grid.shape[0] // self.rows, grid.shape[1] // self.columns
        crops = [grid[r * height:(r + 1) * height, c * width:(c + 1) * width]
                 for r in range(self.rows) for c in range(self.columns)]
        return crops + ([decode(self.thumbnail)] if self.thumbnail else [])

    def pixels(self) -> np.ndarray:
        """Return the whole image as it was kept, uint8 RGB ``[height, width, 3]``."""
        return decode(self.main)


def decode(data: bytes) -> np.ndarray:
    """
    Return the pixels of a JPEG or PNG file.

    :returns: uint8 RGB ``[height, width, 3]``, turned as its EXIF data demand; transparency is
        dropped and 16 bits become 8.
    :raises LfmError: INVALID_IMAGE.
    """
    try:
        # Known from the header; nothing is decoded yet.
        check_size(*image_size(data))
        file = strip(data)
        with Image.open(io.BytesIO(file.data), formats=[file.kind]) as image:
            check_size(*image.size)
            return to_rgb(image, file.orientation)
    except LfmError:
        raise
    except Exception as error:  # Pillow raises nearly anything for damaged files
        head = bytes(data[:8])
        known = head.startswith((b'\xff\xd8', b'\x89PNG'))
        reason = f'it is damaged or cut off ({quote(error)})' if known else \
            'it is neither JPEG nor PNG' if head else 'it is empty'
        raise invalid(f'an image of {len(data)} bytes cannot be used, {reason}: send a whole '
                      'JPEG or PNG file') from error


def to_rgb(image: Image.Image, orientation: int = 1) -> np.ndarray:
    """
    Return the pixels of an image of Pillow, uint8 RGB ``[height, width, 3]``.

    :param orientation: 1 to 8, as EXIF counts them.
    """
    turned = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    if turned.mode.startswith('I'):  # 16 bits; Pillow would cut them off at 255
        high = np.asarray(turned).astype(np.uint32) >> 8
        return np.repeat(np.minimum(high, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.asarray(turned.convert('RGB'))


def encode(pixels: np.ndarray) -> bytes:
    """Return a PNG of pixels, packed quickly rather than well: a request waits for it."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG', compress_level=1)
    return stream.getvalue()


def check_size(width: int, height: int) -> None:
    """Refuse an image that is empty, or larger than a camera's."""
    if width < 1 or height < 1:
        raise invalid(f'an image is {width} x {height} pixels: send one that is not empty')
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise invalid(f'an image is {width} x {height} pixels and may have '
                      f'{MAX_PIXELS // 1_000_000} million, {MAX_SIDE} along a side: send a '
                      'smaller one')


def invalid(message: str) -> LfmError:
    """Return the error for an image that cannot be used."""
    return LfmError(ErrorCode.INVALID_IMAGE, message)
