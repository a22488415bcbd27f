# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG files become pixels, or are refused with the reason before they do harm."""
import io
import struct
import time
import zlib

from lfm_ros.engine.vision.image import decode
from lfm_ros.engine.vision.image import encode
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
from PIL import Image
from PIL import ImageOps
import pytest
from vision_support import png_of

from pictures import picture  # noqa: I100

PIXELS = picture(48, 64)


def packed(image, kind='PNG', **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


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


@pytest.mark.parametrize('bits', [10, 12, 14, 16])
def test_of_sixteen_bits_the_range_decides_which_are_shown(bits):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64) << bits - 12 if bits > 12 else \
        np.arange(4096, dtype=np.uint16).reshape(64, 64) >> 12 - bits
    image = EncodedImage(packed(Image.fromarray(values)), (0, (1 << bits) - 1))
    assert (image.pixels() == (values >> bits - 8)[:, :, None]).all() and not image.notice
    image = EncodedImage(packed(Image.fromarray(values)))
    assert np.abs(image.pixels()[:, :, 0].astype(int) - (values >> bits - 8)).max() <= 3
    assert 'as white' in image.notice


@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_an_image_of_sixteen_bits_is_turned_too(orientation):
    values = np.arange(0, 65536, 256, dtype=np.uint16).reshape(8, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = EncodedImage(packed(Image.fromarray(values), exif=exif), (0, 65535)).pixels()
    assert (found[:, :, 0] == np.rot90(values >> 8, {1: 0, 3: 2, 6: -1}[orientation])).all()


def test_a_photo_is_turned_as_its_camera_was_held():
    upright = Image.fromarray(PIXELS)
    exif = upright.getexif()
    exif[0x0112] = 6  # turn right by 90 degrees to see it upright
    found = decode(packed(upright, 'PNG', exif=exif))
    assert (found == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize('data, words', [
    (b'', 'empty'), (b'x', 'neither JPEG nor PNG'), (b'GIF89a' + bytes(100), 'neither'),
    (packed(Image.fromarray(PIXELS), 'BMP'), 'neither'), (png_of(0, 5), 'not empty'),
    (encode(PIXELS)[:-40], 'damaged or cut off'), (encode(PIXELS)[:30], 'damaged or cut off'),
    (packed(Image.fromarray(PIXELS), 'JPEG')[:-200], 'damaged or cut off'),
    (packed(Image.fromarray(PIXELS), 'JPEG')[:20], 'damaged or cut off'),
    (png_of(64, 48, b'too little'), 'damaged'),
], ids=['nothing', 'one byte', 'GIF', 'BMP', 'no pixels', 'cut PNG', 'header of a PNG', 'cut JPEG',
        'header of a JPEG', 'PNG without its pixels'])
def test_a_file_that_is_no_whole_picture_is_refused(data, words):
    assert words in refused(data)


KINDS = {
    'baseline': {}, 'progressive': {'progressive': True}, 'with restarts': {
        'restart_marker_blocks': 3}, 'with its own tables': {'optimize': True},
    'of quality 100': {'quality': 100, 'subsampling': 0}}


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('kind', KINDS)
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(kind, mode):
    whole = packed(Image.fromarray(PIXELS).convert(mode), 'JPEG', **KINDS[kind])
    for cut in (whole[:-1], whole[:-2], whole[:-2] + bytes(99)):
        assert (decode(cut) == decode(whole)).all()


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('kind', KINDS)
def test_a_jpeg_that_lacks_a_pixel_is_refused(kind, mode):
    whole = packed(Image.fromarray(PIXELS).convert(mode), 'JPEG', **KINDS[kind])
    for end in range(0, len(whole) - 2):
        assert 'cannot be used' in refused(whole[:end])


@pytest.mark.parametrize('cut', [1, 4, 8, 12])
def test_a_png_that_lacks_only_its_end_is_whole(cut):
    assert (decode(encode(PIXELS)[:-cut]) == PIXELS).all()


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
    one = PreparedImage(4, 1, 1, encode(PIXELS))
    others = [PreparedImage(5, 1, 1, one.main), PreparedImage(4, 2, 1, one.main),
              PreparedImage(4, 1, 2, one.main), PreparedImage(4, 1, 1, encode(PIXELS[::-1])),
              PreparedImage(4, 1, 1, one.main, one.main),
              PreparedImage(4, 1, 1, one.main[:-1], one.main[-1:])]
    assert one.digest == PreparedImage(4, 1, 1, encode(PIXELS)).digest
    assert len({one.digest, *(other.digest for other in others)}) == 7


def test_tiles_come_row_by_row_and_the_thumbnail_last():
    found = PreparedImage(4, 2, 4, encode(PIXELS), encode(PIXELS[:3])).crops()
    assert [crop.shape for crop in found] == [(24, 16, 3)] * 8 + [(3, 64, 3)]
    assert (found[5] == PIXELS[24:, 16:32]).all() and (found[8] == PIXELS[:3]).all()


def test_a_kept_picture_that_does_not_fit_its_tiles_is_refused():
    with pytest.raises(LfmError):
        PreparedImage(4, 1 << 30, 1, encode(PIXELS)).crops()


def chunk(name, content):
    return struct.pack('>I', len(content)) + name + content + \
        struct.pack('>I', zlib.crc32(name + content))


def png_with(*chunks):
    """Return a PNG of one pixel with these chunks in front of its data."""
    whole = png_of(1, 1, bytes(4))
    return whole[:33] + b''.join(chunks) + whole[33:]


def segments_in(*segments):
    """Return a JPEG of 64 x 48 pixels with these segments at its beginning."""
    whole = packed(Image.fromarray(PIXELS), 'JPEG')
    return whole[:2] + b''.join(segments) + whole[2:]


def segment(marker, content):
    return struct.pack('>BBH', 0xff, marker, len(content) + 2) + content


def exif(entries):
    """Return EXIF data with these entries of 12 bytes."""
    return b'MM\0*' + struct.pack('>IH', 8, len(entries)) + b''.join(entries) + bytes(4)


def short(tag, value):
    return struct.pack('>HHIHH', tag, 3, 1, value, 0)


BOMB = zlib.compress(bytes(60 << 20), 9)  # 60 kB
FAR = [struct.pack('>HHII', n, 2, 60_000, 0) for n in range(5000)]
LADEN = {
    'a compressed text of 60 MB': png_with(chunk(b'zTXt', b'a\0\0' + BOMB)),
    'an international text of 60 MB': png_with(chunk(b'iTXt', b'a\0\1\0\0\0' + BOMB)),
    'a profile of 60 MB': png_with(chunk(b'iCCP', b'a\0\0' + BOMB)),
    'forty texts of 1 MB': png_with(
        *[chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(1 << 20)))] * 40),
    'pixels of 60 MB for one': png_of(1, 1, bytes(60 << 20)),
    'frames of an animation': png_with(chunk(b'acTL', struct.pack('>II', 2 ** 31 - 1, 0))),
    'EXIF of 5,000 long texts': png_with(chunk(b'eXIf', exif(FAR))),
    '800 EXIF segments in JPEG': segments_in(
        *[segment(0xe1, b'Exif\0\0' + bytes(65_000))] * 800),
    'EXIF of 5,000 long texts in JPEG': segments_in(segment(0xe1, b'Exif\0\0' + exif(FAR))),
    'EXIF in a circle': segments_in(segment(0xe1, b'Exif\0\0' + exif(
        [struct.pack('>HHII', 0x8769, 4, 1, 8)] * 100))),
    'previews of Photoshop': segments_in(*[segment(
        0xed, b'Photoshop 3.0\0' + b'8BIM\4\4\0\0\0\0\0\0' * 5400)] * 50),
    'further pictures': segments_in(segment(
        0xe2, b'MPF\0MM\0*\0\0\0\x08\0\1\xb0\1\0\4\0\0\0\1\x7f\xff\xff\xff')),
    'what stands behind its end': packed(Image.fromarray(PIXELS), 'JPEG') + bytes(1 << 20),
}


@pytest.mark.parametrize('name', LADEN)
def test_what_is_no_pixel_is_not_read(name, monkeypatch):
    """The texts, profiles and previews of a file never reach the decoder."""
    seen = []
    real = Image.open

    def look(stream, *arguments, **options):
        image = real(stream, *arguments, **options)
        seen.append(image.info)
        return image

    monkeypatch.setattr(Image, 'open', look)
    started = time.monotonic()
    assert decode(LADEN[name]).shape in ((1, 1, 3), PIXELS.shape)
    assert time.monotonic() - started < 120
    found, = seen
    assert set(found) <= {'jfif', 'jfif_version', 'jfif_unit', 'jfif_density', 'dpi',
                          'adobe', 'adobe_transform'}


@pytest.mark.parametrize('name', LADEN)
def test_the_size_of_a_waiting_image_is_read_from_its_header_alone(name, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError('a decoder looked at it')

    monkeypatch.setattr(Image, 'open', never)
    height, width = decode_size(LADEN[name])
    assert EncodedImage(LADEN[name]).memory == 16 * width * height


def decode_size(data):
    return PIXELS.shape[:2] if data.startswith(b'\xff') else (1, 1)


def scanned(count):
    """Return a JPEG of 2048 x 2048 pixels whose last pass, without data, comes again and again."""
    whole = packed(Image.new('RGB', (2048, 2048)), 'JPEG', progressive=True)
    last = whole.rindex(b'\xff\xda')
    header = whole[last:last + 2 + struct.unpack_from('>H', whole, last + 2)[0]]
    return whole[:-2] + header * count + whole[-2:]


def test_a_jpeg_of_more_passes_than_any_encoder_writes_is_refused():
    assert 'passes' in refused(scanned(5000))
    assert decode(scanned(0)).shape == (2048, 2048, 3)
    few = packed(Image.fromarray(PIXELS), 'JPEG', progressive=True)
    assert decode(few).shape == PIXELS.shape


@pytest.mark.parametrize('data', [
    png_with(*[chunk(b'tEXt', b'a\0')] * 70_000), png_with(*[chunk(b'IDAT', b'')] * 70_000),
    segments_in(*[segment(0xfe, b'')] * 70_000)], ids=['texts', 'empty data', 'comments'])
def test_a_file_of_more_parts_than_any_camera_writes_is_refused(data):
    assert '65536' in refused(data)


@pytest.mark.parametrize('size', [(64_000_000, 1), (1, 64_000_000), (65_536, 900)])
def test_an_image_with_a_side_longer_than_65535_is_refused(size):
    assert '65535' in refused(png_of(*size))


@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
@pytest.mark.parametrize('orientation', range(10))
def test_every_orientation_turns_an_image_as_pillow_does(orientation, kind):
    upright = Image.fromarray(PIXELS)
    data = upright.getexif()
    data[0x0112] = orientation
    options = {'quality': 100, 'subsampling': 0} if kind == 'JPEG' else {}
    whole = packed(upright, kind, exif=data, **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(whole))).convert('RGB')
    assert (decode(whole) == np.asarray(expected)).all()


@pytest.mark.parametrize('kind', ['GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'EPS', 'PDF', 'ICO', 'TGA',
                                  'JPEG2000', 'PCX', 'SGI'])
def test_no_other_format_is_opened(kind):
    try:
        data = packed(Image.fromarray(PIXELS), kind)
    except (KeyError, OSError):
        pytest.skip(f'this Pillow cannot write {kind}')
    assert 'neither JPEG nor PNG' in refused(data)
