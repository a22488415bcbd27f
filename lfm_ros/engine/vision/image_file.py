# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What of a JPEG or PNG file its pixels need; all else is left out before it is decoded."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import re
import struct

JPEG, PNG = 'JPEG', 'PNG'
# Segments or chunks of a file: those of cameras have some hundred.
MAX_PARTS = 1 << 16
# Passes over all pixels; encoders write 10. A pass may have no data at all and takes 0.25 s for
# 64 million pixels, so that a file of 0.5 MB could take hours.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 1_000_000_000

_PNG_HEAD = b'\x89PNG\r\n\x1a\n'
_JPEG_HEAD, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_TAIL = 64  # bytes: more than a decoder reads ahead
_KEPT_CHUNKS = (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND')
_EXIF_CHUNK, _EXIF_HEAD = b'eXIf', b'Exif\0\0'
_START_OF_FRAME = {*range(0xc0, 0xd0)} - {0xc4, 0xc8, 0xcc}
# Tables, restarts, and the segments that define the colours: JFIF and Adobe.
_KEPT_SEGMENTS = {0xc4, 0xcc, 0xdb, 0xdd, 0xe0, 0xee} | _START_OF_FRAME
_EXIF_SEGMENT, _SCAN, _END = 0xe1, 0xda, 0xd9
_ALONE = {0x01, *range(0xd0, 0xd9)}  # markers without a length
_NEXT_MARKER = re.compile(rb'\xff+[^\x00\xd0-\xd7\xff]')
_RESTART = re.compile(rb'\xff[\xd0-\xd7]')
_ORIENTATION, _SHORT = 0x0112, 3
# What else a camera or a transport may send, by how it begins.
_OTHERS = {
    'WebP': rb'RIFF....WEBP', 'GIF': rb'GIF8', 'BMP': rb'BM', 'TIFF': rb'II\*\0|MM\0\*',
    'AVIF or HEIF': rb'....ftyp(?:avi|hei|mif|msf)', 'an MP4 video': rb'....ftyp',
    'JPEG 2000': rb'\0\0\0\x0cjP|\xff\x4f\xff\x51', 'JPEG XL': rb'\xff\x0a|\0\0\0\x0cJXL',
    'QOI': rb'qoif', 'a part of an H.264 or H.265 video': rb'\0\0\0?\x01[^\0]',
}


@dataclass(frozen=True)
class ImageFile:
    """
    An encoded image.

    :param kind: JPEG or PNG.
    :param data: the file without texts, profiles, previews and further frames.
    :param orientation: 1 to 8, as EXIF counts them.
    :param tails: what to put behind it. Where a JPEG lacks its end there are two, which give the
        same pixels only if nothing but the end is missing.
    """

    kind: str
    data: bytes
    orientation: int
    tails: tuple[bytes, ...] = (b'',)


def image_size(data: bytes) -> tuple[int, int]:
    """
    Return width and height, from the header alone.

    :raises ValueError: when it is no JPEG or PNG, or cut off before its header ends.
    """
    if data.startswith(_PNG_HEAD):
        if data[12:16] != b'IHDR' or len(data) < 24:
            raise ValueError('it has no header')
        return struct.unpack_from('>II', data, 16)
    for marker, start, end in _segments(data):
        if marker in _START_OF_FRAME:
            return _frame_size(data, start, end)
    raise ValueError('it has no header')


def name_of(data: bytes) -> str:
    """Return what kind of file begins like this, JPEG or PNG or another; empty: unknown."""
    if data.startswith((_JPEG_HEAD, _PNG_HEAD[:4])):
        return JPEG if data.startswith(_JPEG_HEAD) else PNG
    return next((name for name, head in _OTHERS.items() if re.match(head, data, re.DOTALL)), '')


def strip(data: bytes) -> ImageFile:
    """
    Leave out all that is not needed for the pixels.

    :raises ValueError: when it is no JPEG or PNG, is damaged, or would take too long to decode.
    """
    return _strip_png(data) if data.startswith(_PNG_HEAD) else _strip_jpeg(data)


def _strip_png(data: bytes) -> ImageFile:
    kept, orientation = [_PNG_HEAD], 1
    start, count = len(_PNG_HEAD), 0
    while start + 8 <= len(data):
        count += 1
        if count > MAX_PARTS:
            raise ValueError(f'it has more than {MAX_PARTS} chunks')
        length, name = struct.unpack_from('>I4s', data, start)
        end = start + 12 + length
        if name in _KEPT_CHUNKS:
            kept.append(data[start:end])
        elif name == _EXIF_CHUNK and orientation == 1:
            orientation = _orientation(data[start + 8:end - 4])
        if name == b'IEND':
            break
        start = end
    return ImageFile(PNG, b''.join(kept), orientation)


def _strip_jpeg(data: bytes) -> ImageFile:
    kept, orientation, scans, pixels = [_JPEG_HEAD], 1, 0, 0
    components, read = 0, set[tuple[int, int]]()
    for marker, start, end in _segments(data):
        if marker == _EXIF_SEGMENT and orientation == 1 and \
                data.startswith(_EXIF_HEAD, start + 4):
            orientation = _orientation(data[start + 4 + len(_EXIF_HEAD):end])
        if marker in _START_OF_FRAME:
            width, height = _frame_size(data, start, end)
            pixels = max(pixels, width * height)
            components = data[start + 9]
        if marker == _SCAN:
            scans += 1
            if scans > MAX_SCANS or scans > 1 and scans * pixels > MAX_SCANNED_PIXELS:
                raise ValueError(f'it has more than {scans - 1} passes over its pixels')
            read |= _finished_in(data[start:end])
            found = _NEXT_MARKER.search(data, end)
            kept.append(data[start:found.start() if found else len(data)])
        elif marker in _KEPT_SEGMENTS:
            kept.append(data[start:end])
        elif marker == _END:
            kept.append(_JPEG_END)
    whole = b''.join(kept)
    if whole.endswith(_JPEG_END):
        return ImageFile(JPEG, whole, orientation)
    if len(read) < 64 * components:  # each pass over a progressive one adds some bits of some
        raise ValueError('its end is missing')
    return ImageFile(JPEG, whole.rstrip(b'\xff'), orientation, _tails(whole))


def _finished_in(scan: bytes) -> set[tuple[int, int]]:
    """Return the components, and which of their 64 coefficients, that are whole after a pass."""
    count = scan[4] if len(scan) > 4 else 255
    if len(scan) < 8 + 2 * count:
        return set()
    first, last, bits = scan[5 + 2 * count:8 + 2 * count]
    if bits & 15:  # lower bits come in a later pass
        return set()
    return {(scan[5 + 2 * n], k) for n in range(count) for k in range(first, min(last, 63) + 1)}


def _tails(whole: bytes) -> tuple[bytes, bytes]:
    """Return two ends whose bits a decoder takes for pixels where some are missing."""
    restarts = _RESTART.findall(whole)
    last = restarts[-1][1] if restarts else 0xd7
    restart = bytes([0xff, 0xd0 + (last + 1) % 8])
    first, second = (fill * _TAIL + restart + fill * _TAIL for fill in (b'\x00', b'\xaa'))
    return first + _JPEG_END, second + _JPEG_END


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments of a JPEG file, up to that of its end."""
    if not data.startswith(_JPEG_HEAD):
        raise ValueError('it is neither JPEG nor PNG')
    place = len(_JPEG_HEAD)
    for _ in range(MAX_PARTS):
        found = _NEXT_MARKER.search(data, place)
        if not found:
            return
        place = found.end()
        marker, start = data[place - 1], place - 2
        if marker in _ALONE:
            continue
        if marker == _END:
            yield marker, start, place
            return
        if place + 2 > len(data):
            raise ValueError('it ends within a segment')
        place += max(2, struct.unpack_from('>H', data, place)[0])
        yield marker, start, min(place, len(data))
    raise ValueError(f'it has more than {MAX_PARTS} segments')


def _frame_size(data: bytes, start: int, end: int) -> tuple[int, int]:
    if end - start < 10:
        raise ValueError('it ends within its header')
    height, width = struct.unpack_from('>HH', data, start + 5)
    return width, height


def _orientation(exif: bytes) -> int:
    """Return the orientation that EXIF data name, 1 where they are damaged or name none."""
    try:
        order = {b'II': '<', b'MM': '>'}[exif[:2]]
        place, = struct.unpack_from(f'{order}I', exif, 4)
        count, = struct.unpack_from(f'{order}H', exif, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f'{order}HHIH', exif, entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1
