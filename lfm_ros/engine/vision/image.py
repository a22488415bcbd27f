# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An image as a model gets it, small enough to be stored with the mission."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import hashlib
import io
from typing import Protocol

from lfm_ros.engine.vision import mono16
from lfm_ros.engine.vision.image_file import image_size
from lfm_ros.engine.vision.image_file import ImageFile
from lfm_ros.engine.vision.image_file import JPEG
from lfm_ros.engine.vision.image_file import name_of
from lfm_ros.engine.vision.image_file import PNG
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

    @property
    def notice(self) -> str:
        """What was done to its pixels that one may want to know; empty before they are read."""

    def pixels(self) -> np.ndarray:
        """
        Return it as uint8 RGB ``[height, width, 3]``, or grey ``[height, width, 1]``.

        :raises LfmError: INVALID_IMAGE, NO_CAMERA_FRAME, STALE_IMAGE.
        """


@dataclass
class EncodedImage:
    """
    The bytes of a JPEG or PNG file.

    :param mono16_range: values of an image of 16 bits that are black and white, see
        :func:`mono16.from_16_bits`.
    """

    data: bytes
    mono16_range: tuple[int, int] = mono16.AUTO
    notice = ''
    ready = True

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes while it waits."""
        return len(self.data)

    @property
    def memory(self) -> int:
        """Return about how many bytes it takes to decode and resize it, by its header."""
        try:
            return memory_for(*image_size(self.data))
        except ValueError:  # decode() raises the error
            return 0

    def pixels(self) -> np.ndarray:
        """Return its pixels, see :class:`ImageSource`."""
        values = self.decode()
        return values.reshape(*values.shape[:2], -1)

    def decode(self) -> np.ndarray:
        """
        Return its pixels, 16 bits as 8.

        :returns: uint8 RGB ``[height, width, 3]``, or grey ``[height, width]``.
        """
        values = decode_values(self.data)
        if values.dtype == np.uint16:
            values, self.notice = mono16.from_16_bits(values, self.mono16_range)
        return values


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
    found = EncodedImage(data).pixels()
    return found.repeat(3, axis=2) if found.shape[2] == 1 else found


def decode_values(data: bytes) -> np.ndarray:
    """
    Return the pixels of a JPEG or PNG file; grey ones as they are.

    :returns: uint8 RGB ``[height, width, 3]``; for grey uint8 or uint16 ``[height, width]``.
    :raises LfmError: INVALID_IMAGE.
    """
    try:
        # Known from the header; nothing is decoded yet.
        check_size(*image_size(data))
        file = strip(data)
        found = _read(file, file.data + file.tails[0])
        # What follows the last pixel changes none of them.
        if len(file.tails) > 1 and (_read(file, file.data + file.tails[1]) != found).any():
            raise ValueError('its end is missing')
        return found
    except LfmError:
        raise
    except Exception as error:  # Pillow raises nearly anything for damaged files
        known = name_of(data)
        reason = f'it is damaged or cut off ({quote(error)})' if known in (JPEG, PNG) else \
            f'it is {known}, neither JPEG nor PNG' if known else \
            'it is neither JPEG nor PNG' if data else 'it is empty'
        raise invalid(f'an image of {len(data)} bytes cannot be used, {reason}: send a whole '
                      'JPEG or PNG file') from error


def _read(file: ImageFile, data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=[file.kind]) as image:
        check_size(*image.size)
        turn = _TURNS.get(file.orientation)
        turned = image.transpose(turn) if turn is not None else image
        if turned.mode.startswith('I'):  # 16 bits; Pillow would cut them off at 255
            return np.asarray(turned).astype(np.uint16)
        return np.asarray(turned if turned.mode in ('L', 'RGB') else turned.convert('RGB'))


def encode(pixels: np.ndarray) -> bytes:
    """Return a PNG of pixels, packed quickly rather than well: a request waits for it."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG', compress_level=1)
    return stream.getvalue()


def memory_for(width: int, height: int) -> int:
    """Return about how many bytes it takes to decode and resize an image; 0: it is refused."""
    return 0 if _is_too_large(width, height) else PIXEL_MEMORY * width * height


def check_size(width: int, height: int) -> None:
    """Refuse an image that is empty, or larger than a camera's."""
    if width < 1 or height < 1:
        raise invalid(f'an image is {width} x {height} pixels: send one that is not empty')
    if _is_too_large(width, height):
        raise invalid(f'an image is {width} x {height} pixels and may have '
                      f'{MAX_PIXELS // 1_000_000} million, {MAX_SIDE} along a side: send a '
                      'smaller one')


def _is_too_large(width: int, height: int) -> bool:
    return width * height > MAX_PIXELS or max(width, height) > MAX_SIDE


def invalid(message: str) -> LfmError:
    """Return the error for an image that cannot be used."""
    return LfmError(ErrorCode.INVALID_IMAGE, message)
