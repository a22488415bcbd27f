# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of cameras in all usual encodings show the same, and contradictions are refused."""
import io
import struct

from camera import to_compressed
from lfm_ros.engine.vision.colours import demosaic
from lfm_ros.engine.vision.colours import from_yuv
from lfm_ros.engine.vision.compressed_frame import CompressedFrame
from lfm_ros.engine.vision.raw_frame import BAYER
from lfm_ros.engine.vision.raw_frame import RawFrame
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
from PIL import Image as PillowImage
import pytest
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

HEIGHT, WIDTH = 12, 16
RNG = np.random.Generator(np.random.PCG64(3))
COLOURS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = COLOURS[:, :, 1]
ORDERS = {'rgb': (0, 1, 2), 'bgr': (2, 1, 0)}


def frame(encoding, rows, width=WIDTH, padding=0, is_bigendian=0):
    """Return a message with rows of bytes, each followed by so many others."""
    rows = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=len(rows), width=width, encoding=encoding, step=rows.shape[1],
                    is_bigendian=is_bigendian)
    message.data.frombytes(rows.tobytes())
    return message


def pixels(*arguments, mono16_range=(0, 0), **options):
    found = RawFrame(frame(*arguments, **options), mono16_range).pixels()
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    return found


@pytest.mark.parametrize('padding', [0, 5, 1000])
@pytest.mark.parametrize('name', ['rgb', 'bgr'])
def test_colours_come_in_any_order_and_with_any_step(name, padding):
    sent = COLOURS[:, :, ORDERS[name]]
    assert (pixels(f'{name}8', sent, padding=padding) == COLOURS).all()


@pytest.mark.parametrize('name', ['rgb', 'bgr'])
def test_transparency_is_dropped(name):
    sent = np.dstack([COLOURS[:, :, ORDERS[name]], GREY])
    assert (pixels(f'{name}a8', sent) == COLOURS).all()


@pytest.mark.parametrize('encoding, sent', [('8UC3', COLOURS[:, :, ::-1]), (
    '8UC4', np.dstack([COLOURS[:, :, ::-1], GREY]))])
def test_colours_without_names_have_the_order_of_opencv(encoding, sent):
    assert (pixels(encoding, sent) == COLOURS).all()


@pytest.mark.parametrize('encoding, sent', [('rgb8', COLOURS), ('mono8', GREY)])
def test_what_is_right_in_the_message_is_not_copied(encoding, sent):
    message = frame(encoding, sent)
    assert np.shares_memory(RawFrame(message).pixels(), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
@pytest.mark.parametrize('padding', [0, 5])
def test_grey_stays_one_number_per_pixel(encoding, padding):
    assert (pixels(encoding, GREY, padding=padding) == GREY[:, :, None]).all()


BOTH_ENDS = pytest.mark.parametrize('is_bigendian, kind', [(0, '<u2'), (1, '>u2')])


@BOTH_ENDS
@pytest.mark.parametrize('encoding', ['rgb16', 'bgr16', 'rgba16', 'bgra16', '16UC3', '16UC4'])
def test_of_sixteen_bits_of_a_colour_the_upper_eight_count(encoding, is_bigendian, kind):
    sent = COLOURS if encoding.startswith('rgb') else COLOURS[:, :, ::-1]
    if encoding.endswith(('a16', '4')):
        sent = np.dstack([sent, GREY])
    sent = (sent.astype(np.uint16) << 8 | 0xa5).astype(kind)
    assert (pixels(encoding, sent, is_bigendian=is_bigendian, padding=2) == COLOURS).all()


@BOTH_ENDS
@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
@pytest.mark.parametrize('bits', [10, 12, 16])
def test_the_range_decides_which_bits_of_sixteen_are_shown(encoding, bits, is_bigendian, kind):
    values = (GREY.astype(np.uint16) << (bits - 8) | 3).astype(kind)
    found = pixels(encoding, values, is_bigendian=is_bigendian, padding=6,
                   mono16_range=(0, (1 << bits) - 1))
    assert (found == GREY[:, :, None]).all()


def spread(low, high, shape=(48, 64)):
    """Return values that grow evenly from one to the other."""
    return np.linspace(low, high, shape[0] * shape[1]).astype('<u2').reshape(shape)


@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
@pytest.mark.parametrize('low, high', [
    (0, 1023), (0, 4095), (300, 5000), (0, 65535), (29_000, 31_000)],
    ids=['10 bits', '12 bits', 'depth in mm', '16 bits', 'thermal'])
def test_without_a_range_the_values_of_an_image_fill_black_to_white(encoding, low, high):
    shown = RawFrame(frame(encoding, spread(low, high), 64))
    assert shown.notice == ''
    found = shown.pixels()
    assert found.min() == 0 and found.max() == 255 and 120 < found.mean() < 136
    assert 'as black' in shown.notice and 'as white' in shown.notice


def test_a_few_pixels_that_are_off_do_not_make_an_image_dark():
    values = spread(400, 3000)
    values[5, 5:20] = 65535
    assert pixels('16UC1', values, 64).mean() > 120


@pytest.mark.parametrize('value, shade', [(0, 0), (7, 7), (1000, 127), (65535, 127)])
def test_noise_is_not_made_a_picture(value, shade):
    values = np.full((48, 64), value, np.uint16)
    values[::2, ::2] ^= 1
    found = pixels('mono16', values, 64)
    assert np.abs(found.astype(int) - shade).max() <= 1


def test_an_image_with_a_given_range_needs_no_notice():
    shown = RawFrame(frame('16UC1', spread(0, 9000), 64), (1000, 2000))
    found = shown.pixels()
    assert shown.notice == '' and (found == 0).any() and (found == 255).any()
    assert found[0, 0] == 0 and found[-1, -1] == 255


@pytest.mark.parametrize('encoding, places', [
    ('yuv422', (1, 0, 3, 2)), ('uyvy', (1, 0, 3, 2)),
    ('yuv422_yuy2', (0, 1, 2, 3)), ('yuyv', (0, 1, 2, 3))])
def test_yuv_is_turned_into_colours_in_both_orders(encoding, places):
    wanted = np.array([[(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]])
    luma = [235, 16, 81.5, 144.5, 41]
    blue, red = [128, 128, 90.2, 53.8, 240], [128, 128, 240, 34.2, 109.8]
    row = np.zeros((1, 5, 4), np.uint8)
    for value, place in zip((luma, blue, luma, red), places):
        row[0, :, place] = np.round(value)
    found = pixels(encoding, row.repeat(3, axis=0), width=10, padding=3)
    assert found.shape == (3, 10, 3)
    assert np.abs(found[:, ::2].astype(int) - wanted).max() <= 3
    assert (found[:, ::2] == found[:, 1::2]).all()


def planar(luma, blue, red, step, pair_step):
    """Return the bytes of luma and of pairs of colours behind it, both with padding."""
    pairs = np.stack([blue, red], axis=2).reshape(len(blue), -1)
    return b''.join(
        np.pad(plane, ((0, 0), (0, wide - plane.shape[1])), constant_values=77).tobytes()
        for plane, wide in ((luma, step), (pairs, pair_step)))


@pytest.mark.parametrize('padding', [0, 16])
@pytest.mark.parametrize('height, width', [(12, 16), (11, 15), (1, 1), (70, 700)])
@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'nv24'])
def test_colours_in_a_plane_of_their_own_show_the_same(encoding, height, width, padding):
    every = 1 if encoding == 'nv24' else 2
    luma = RNG.integers(0, 256, (height, width), np.uint8)
    blue, red = RNG.integers(0, 256, (2, -(-height // every), -(-width // every)), np.uint8)
    first, second = (red, blue) if encoding == 'nv21' else (blue, red)
    step = width + width % 2 + padding
    message = Image(height=height, width=width, encoding=encoding, step=step)
    padded = planar(luma, first, second, step, step * 2 // every)
    message.data.frombytes(padded)
    wide = [np.repeat(np.repeat(plane, every, 0), every, 1)[:height, :width]
            for plane in (blue, red)]
    found = RawFrame(message).pixels()
    assert (found == from_yuv(luma, *wide)).all() and found.flags.c_contiguous
    del message.data[-(step * 2 // every - 2 * blue.shape[1]) - 1 - (height == 1):]
    with pytest.raises(LfmError, match='and then colours'):
        RawFrame(message)


@pytest.mark.parametrize('step', [16, 24, 32])
def test_planes_without_padding_are_read_whatever_counts_as_a_row(step):
    luma, blue, red = COLOURS[:, :, 0], COLOURS[::2, ::2, 1], COLOURS[::2, ::2, 2]
    message = Image(height=12, width=16, encoding='nv12', step=step)
    message.data.frombytes(planar(luma, blue, red, 16, 16))
    assert (RawFrame(message).pixels() == from_yuv(luma, blue, red)).all()


def test_colours_by_differences_are_those_of_the_formula():
    """Of BT.601 in video range, in float32 and with halves to even, for 20,000 pixels."""
    luma, blue, red = RNG.integers(0, 256, (3, 100, 200), np.uint8)
    y, u, v = (plane.astype(np.float32) for plane in (luma, blue, red))
    y, u, v = 1.164 * (y - 16), u - 128, v - 128
    wanted = np.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u], axis=2)
    assert (from_yuv(luma, blue, red) == wanted.round().clip(0, 255).astype(np.uint8)).all()


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('order', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_mosaic_of_one_colour_shows_that_colour(order, bits):
    colour = {'r': 200, 'g': 90, 'b': 30}
    cell = np.array([[colour[order[0]], colour[order[1]]], [colour[order[2]], colour[order[3]]]])
    values = np.tile(cell, (HEIGHT // 2, WIDTH // 2)).astype(np.uint16)
    sent = values.astype(np.uint8) if bits == 8 else (values << 8).astype('<u2')
    found = pixels(f'bayer_{order}{bits}', sent, padding=2, mono16_range=(0, 65535))
    assert (found == (200, 90, 30)).all()


def test_a_mosaic_of_twelve_bits_is_not_dark():
    values = (COLOURS[:, :, 1].astype('<u2') << 4)
    found = pixels('bayer_rggb16', values, mono16_range=(0, 4095))
    assert (found == demosaic(COLOURS[:, :, 1], 'rggb')).all()
    assert pixels('bayer_rggb16', values).mean() > 100


def test_a_mosaic_is_interpolated_between_its_pixels():
    values = np.zeros((6, 6), np.uint8)
    values[0::2, 0::2] = [[0, 100, 200]] * 3  # red grows to the right
    found = pixels('bayer_rggb8', values, width=6)
    assert (found[2, :5, 0] == (0, 50, 100, 150, 200)).all() and not found[:, :, 1:].any()


@pytest.mark.parametrize('width', range(1, 5))
def test_a_mosaic_of_a_few_pixels_is_no_accident(width):
    assert pixels('bayer_grbg8', np.full((1, width), 9, np.uint8), width=width).shape == \
        (1, width, 3)


@pytest.mark.parametrize('height, width', [(700, 90), (3, 40_000)])
def test_a_mosaic_has_no_seams(height, width):
    values = RNG.integers(0, 256, (height, width), np.uint8)
    found = demosaic(values, 'gbrg')
    for low in (20, 362):
        assert (found[low:low + 2] == demosaic(values[:low + 4], 'gbrg')[low:low + 2]).all()


@pytest.mark.parametrize('encoding, sent', [
    ('bgr8', COLOURS[:, :, ::-1]), ('mono8', GREY), ('yuyv', GREY.repeat(2, 1)),
    ('bayer_rggb8', GREY), ('mono16', GREY.astype('<u2'))])
def test_the_last_row_may_lack_its_padding(encoding, sent):
    whole, cut = frame(encoding, sent, padding=9), frame(encoding, sent, padding=9)
    del cut.data[-9:]
    assert (RawFrame(cut).pixels() == RawFrame(whole).pixels()).all()
    del cut.data[-1:]
    with pytest.raises(LfmError, match='send all of it'):
        RawFrame(cut)


def broken(**fields):
    message = frame('rgb8', COLOURS)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize('message, words', [
    (broken(width=0), '0 x 12 pixels'), (broken(height=0), '16 x 0 pixels'),
    (broken(step=47), 'has 48 bytes but its step is 47'), (broken(step=0), 'step is 0'),
    (broken(step=49), '12 rows of 49'), (broken(height=13), '13 rows'),
    (broken(data=b''), '0 bytes of data'), (broken(width=100_000, height=100_000), 'million'),
    (broken(encoding=''), "encoding ''"), (broken(encoding='RGB8'), "'RGB8'"),
    (broken(encoding='32FC1'), 'convert it to 16UC1'), (broken(encoding='16SC1'), 'no colours'),
    (broken(encoding='8UC2'), 'no colours'), (broken(encoding='nv42'), 'nv24'),
    (broken(encoding='x' * 5000), 'xxx'),
    (broken(encoding='yuv422', width=15), 'must be even'),
    (broken(width=2**32 - 1, height=2**32 - 1, step=2**32 - 1), 'million'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_a_frame_that_contradicts_itself_is_refused(message, words):
    with pytest.raises(LfmError) as raised:
        RawFrame(message)
    assert raised.value.code == ErrorCode.INVALID_IMAGE
    assert words in raised.value.message and len(raised.value.message) < 500


# compressed frames

@pytest.mark.parametrize('said', [
    '', 'png', 'jpeg', 'bgr8; jpeg compressed bgr8', 'rgb8; jpeg compressed rgb8',
    'rgb8; png compressed bgr8', 'nv21; jpeg compressed bgr8', 'x' * 5000, ';;;'])
def test_a_compressed_frame_is_what_its_bytes_are(said):
    message = to_compressed(COLOURS, 'PNG')
    message.format = said
    assert (CompressedFrame(message).pixels() == COLOURS).all()


def compressed(said, values, kind='PNG', head=b'', **options):
    """Return a compressed message with a format; grey of 8 or 16 bits, or colours."""
    stream = io.BytesIO()
    PillowImage.fromarray(values).save(stream, kind, **options)
    message = CompressedImage(format=said)
    message.data.frombytes(head + stream.getvalue())
    return message


@pytest.mark.parametrize('encoding', BAYER)
@pytest.mark.parametrize('saved', ['', 'same'])
def test_a_mosaic_that_was_compressed_gets_its_colours(encoding, saved):
    values = GREY if encoding.endswith('8') else GREY.astype(np.uint16) << 8
    saved = encoding if saved else ''
    found = CompressedFrame(compressed(f'{encoding}; png compressed {saved}', values),
                            (0, 65535)).pixels()
    assert (found == demosaic(GREY, BAYER[encoding])).all()


def test_a_mosaic_that_was_compressed_with_loss_gets_nearly_its_colours():
    values = np.tile(np.array([[200, 90], [90, 30]], np.uint8), (24, 32))
    message = compressed('bayer_rggb8; jpeg compressed ', values, 'JPEG', quality=95)
    found = CompressedFrame(message).pixels()
    assert np.abs(found[2:-2, 2:-2].astype(int) - (200, 90, 30)).max() < 12


@pytest.mark.parametrize('said, values, wanted', [
    ('bayer_rggb8; jpeg compressed mono8', GREY, GREY[:, :, None]),
    ('bayer_rggb8; jpeg compressed bgr8', COLOURS, COLOURS),
    ('bayer_rggb8; png compressed ', COLOURS, COLOURS), ('mono8; png', GREY, GREY[:, :, None])])
def test_a_mosaic_that_has_become_colours_or_grey_is_left_alone(said, values, wanted):
    assert (CompressedFrame(compressed(said, values)).pixels() == wanted).all()


DEPTH = spread(500, 4000)
HEAD = struct.pack('<iff', 0, 0, 0)


@pytest.mark.parametrize('said, head', [
    ('16UC1; png compressed ', b''), ('png', b''), ('mono16; png compressed mono16', b''),
    ('16UC1; compressedDepth png', HEAD), ('16UC1; compressedDepth', HEAD)])
def test_depth_as_png_is_shown_as_raw_depth_is(said, head):
    shown = CompressedFrame(compressed(said, DEPTH, head=head))
    raw = RawFrame(frame('16UC1', DEPTH, 64))
    assert (shown.pixels() == raw.pixels()).all() and shown.notice == raw.notice != ''
    limited = CompressedFrame(compressed(said, DEPTH, head=head), (0, 10_000))
    assert limited.pixels().max() == 4000 * 256 // 10_001 and limited.notice == ''


@pytest.mark.parametrize('message, words', [
    (compressed('32FC1; compressedDepth png', DEPTH, head=HEAD), 'only 16UC1 as png'),
    (CompressedImage(format='16UC1; compressedDepth rvl', data=bytes(99)), 'only 16UC1 as png'),
    (compressed('mono16; jpeg compressed ', GREY, 'JPEG'), 'JPEG has 8 bits'),
    (compressed('16UC1; jpeg compressed ', GREY, 'JPEG'), 'JPEG has 8 bits'),
    (compressed('bayer_grbg16; jpeg compressed ', GREY, 'JPEG'), 'JPEG has 8 bits'),
    (CompressedImage(format='h264', data=b'1' * 99), "format 'h264', which is neither"),
    (CompressedImage(format='x' * 5000, data=b'1' * 99), 'neither JPEG nor PNG'),
    (CompressedImage(format='h264', data=b'\0\0\0\1\x67' + bytes(99)), 'H.264'),
    (compressed('webp', COLOURS, 'WEBP'), 'it is WebP, neither'),
    (compressed('jpeg', COLOURS, 'WEBP'), 'it is WebP, neither'),
    (compressed('rgb8; tiff compressed ', COLOURS, 'TIFF'), 'it is TIFF, neither'),
    (CompressedImage(format='jpeg', data=b'1' * 99), 'it is neither JPEG nor PNG'),
    (CompressedImage(format='jpeg'), 'it is empty'), (CompressedImage(), 'it is empty'),
    (CompressedImage(format='16UC1; compressedDepth png', data=HEAD), 'it is empty'),
], ids=lambda value: value[:20] if isinstance(value, str) else value.format[:30])
def test_what_cannot_be_shown_is_refused_by_its_name(message, words):
    with pytest.raises(LfmError) as raised:
        CompressedFrame(message).pixels()
    assert raised.value.code == ErrorCode.INVALID_IMAGE
    assert words in raised.value.message and len(raised.value.message) < 300
