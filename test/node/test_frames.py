# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of cameras in all usual encodings show the same, and contradictions are refused."""
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.node.frames import CompressedFrame
from lfm_ros.node.frames import RawFrame
import numpy as np
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


def pixels(*arguments, **options):
    found = RawFrame(frame(*arguments, **options)).pixels()
    assert found.dtype == np.uint8
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


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_three_equal_colours(encoding):
    assert (pixels(encoding, GREY) == GREY[:, :, None]).all()


@pytest.mark.parametrize('is_bigendian, kind', [(0, '<u2'), (1, '>u2')])
def test_of_sixteen_bits_the_upper_eight_count_in_both_byte_orders(is_bigendian, kind):
    values = (GREY.astype(np.uint16) << 8 | 0x3c).astype(kind)
    found = pixels('mono16', values, is_bigendian=is_bigendian, padding=6)
    assert (found == GREY[:, :, None]).all()
    coloured = (COLOURS[:, :, ::-1].astype(np.uint16) << 8 | 0xa5).astype(kind)
    assert (pixels('bgr16', coloured, is_bigendian=is_bigendian) == COLOURS).all()


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


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('order', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_mosaic_of_one_colour_shows_that_colour(order, bits):
    colour = {'r': 200, 'g': 90, 'b': 30}
    cell = np.array([[colour[order[0]], colour[order[1]]], [colour[order[2]], colour[order[3]]]])
    values = np.tile(cell, (HEIGHT // 2, WIDTH // 2)).astype(np.uint16)
    sent = values.astype(np.uint8) if bits == 8 else (values << 8).astype('<u2')
    assert (pixels(f'bayer_{order}{bits}', sent, padding=2) == (200, 90, 30)).all()


def test_a_mosaic_is_interpolated_between_its_pixels():
    values = np.zeros((6, 6), np.uint8)
    values[0::2, 0::2] = [[0, 100, 200]] * 3  # red grows to the right
    found = pixels('bayer_rggb8', values, width=6)
    assert (found[2, :5, 0] == (0, 50, 100, 150, 200)).all() and not found[:, :, 1:].any()


@pytest.mark.parametrize('width', range(1, 5))
def test_a_mosaic_of_a_few_pixels_is_no_accident(width):
    assert pixels('bayer_grbg8', np.full((1, width), 9, np.uint8), width=width).shape == \
        (1, width, 3)


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
    (broken(encoding='32FC1'), "'32FC1'"), (broken(encoding='x' * 5000), 'xxx'),
    (broken(encoding='yuv422', width=15), 'must be even'),
    (broken(width=2**32 - 1, height=2**32 - 1, step=2**32 - 1), 'million'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_a_frame_that_contradicts_itself_is_refused(message, words):
    with pytest.raises(LfmError) as raised:
        RawFrame(message)
    assert raised.value.code == ErrorCode.INVALID_IMAGE
    assert words in raised.value.message and len(raised.value.message) < 500


def test_a_compressed_frame_is_what_its_bytes_are_whatever_its_format_says():
    from camera import to_compressed
    message = to_compressed(COLOURS, 'PNG')
    message.format = 'bgr8; jpeg compressed bgr8'
    assert (CompressedFrame(message).pixels() == COLOURS).all()


def test_a_compressed_frame_without_data_is_refused():
    with pytest.raises(LfmError, match='it is empty'):
        CompressedFrame(CompressedImage(format='jpeg')).pixels()
