# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG files become pixels, or are refused with the reason before they do harm."""
import io
import struct
import zlib

from lfm_ros.engine.picture import decode
from lfm_ros.engine.picture import encode
from lfm_ros.engine.picture import Picture
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
from PIL import Image
import pytest
from support import MODELS  # noqa: F401  (makes the modules beside the fixtures importable)

from pictures import picture  # noqa: I100

PIXELS = picture(48, 64)


def packed(image, kind='PNG', **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_of(width, height, data=b''):
    """Return a PNG file that claims a size, whatever is in it."""
    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + \
            struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + \
        chunk(b'IDAT', zlib.compress(data)) + chunk(b'IEND', b'')


def refused(data):
    with pytest.raises(LfmError) as raised:
        decode(data)
    assert raised.value.code == ErrorCode.INVALID_IMAGE
    assert len(raised.value.message) < 300 and '\n' not in raised.value.message
    return raised.value.message


def test_a_png_comes_back_exactly():
    assert (decode(encode(PIXELS)) == PIXELS).all()


def test_a_jpeg_comes_back_nearly():
    found = decode(packed(Image.fromarray(PIXELS), 'JPEG', quality=95))
    assert found.shape == PIXELS.shape and np.abs(found.astype(int) - PIXELS).mean() < 8


def test_a_picture_with_transparency_loses_it():
    solid = Image.fromarray(PIXELS).convert('RGBA')
    solid.putalpha(7)
    assert (decode(packed(solid)) == PIXELS).all()


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'LA', 'CMYK'])
def test_pictures_of_other_kinds_become_red_green_and_blue(mode):
    image = Image.fromarray(PIXELS).convert(mode)
    found = decode(packed(image, 'JPEG' if mode == 'CMYK' else 'PNG'))
    assert found.shape == PIXELS.shape and found.dtype == np.uint8


def test_sixteen_bits_become_the_upper_eight():
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    found = decode(packed(Image.fromarray(values)))
    assert (found == (values >> 8)[:, :, None]).all()


def test_a_photo_is_turned_as_its_camera_was_held():
    upright = Image.fromarray(PIXELS)
    exif = upright.getexif()
    exif[0x0112] = 6  # turn right by 90 degrees to see it upright
    found = decode(packed(upright, 'PNG', exif=exif))
    assert (found == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize('data, words', [
    (b'', 'empty'), (b'x', 'neither JPEG nor PNG'), (b'GIF89a' + bytes(100), 'neither'),
    (packed(Image.fromarray(PIXELS), 'BMP'), 'neither'), (png_of(0, 5), 'damaged'),
    (encode(PIXELS)[:-40], 'damaged or cut off'), (encode(PIXELS)[:30], 'damaged or cut off'),
    (packed(Image.fromarray(PIXELS), 'JPEG')[:-200], 'damaged or cut off'),
    (packed(Image.fromarray(PIXELS), 'JPEG')[:20], 'damaged or cut off'),
    (png_of(64, 48, b'too little'), 'damaged'),
], ids=['nothing', 'one byte', 'GIF', 'BMP', 'no pixels', 'cut PNG', 'header of a PNG', 'cut JPEG',
        'header of a JPEG', 'PNG without its pixels'])
def test_a_file_that_is_no_whole_picture_is_refused(data, words):
    assert words in refused(data)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('size', [(100_000, 100_000), (64_001, 1000), (2**31 - 1, 2**31 - 1)])
def test_a_png_that_claims_to_be_enormous_is_refused_by_its_header(size):
    assert ' may have 64 million' in refused(png_of(*size))


def test_damaged_files_never_raise_anything_else():
    random = np.random.Generator(np.random.PCG64(5))
    for kind in ('PNG', 'JPEG'):
        whole = packed(Image.fromarray(PIXELS), kind)
        for _ in range(300):
            data = bytearray(whole)
            for place in random.integers(0, len(data), 1 + random.integers(0, 8)):
                data[place] = random.integers(0, 256)
            try:
                assert decode(bytes(data)).ndim == 3
            except LfmError as error:
                assert error.code == ErrorCode.INVALID_IMAGE


def test_the_digest_of_a_picture_tells_all_that_a_model_sees():
    one = Picture(4, 1, 1, encode(PIXELS))
    others = [Picture(5, 1, 1, one.main), Picture(4, 2, 1, one.main), Picture(4, 1, 2, one.main),
              Picture(4, 1, 1, encode(PIXELS[::-1])), Picture(4, 1, 1, one.main, one.main),
              Picture(4, 1, 1, one.main[:-1], one.main[-1:])]
    assert one.digest == Picture(4, 1, 1, encode(PIXELS)).digest
    assert len({one.digest, *(other.digest for other in others)}) == 7


def test_tiles_come_row_by_row_and_the_thumbnail_last():
    found = Picture(4, 2, 4, encode(PIXELS), encode(PIXELS[:3])).crops()
    assert [crop.shape for crop in found] == [(24, 16, 3)] * 8 + [(3, 64, 3)]
    assert (found[5] == PIXELS[24:, 16:32]).all() and (found[8] == PIXELS[:3]).all()


def test_a_kept_picture_that_does_not_fit_its_tiles_is_refused():
    with pytest.raises(LfmError):
        Picture(4, 1 << 30, 1, encode(PIXELS)).crops()
