# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images of 16 bits as 8: depth, infrared and sensors of 10 to 14 bits use a part of the range."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

AUTO = (0, 0)
LARGEST = (1 << 16) - 1
SAMPLES = 1 << 18  # pixels of an image that are looked at
DARKEST, BRIGHTEST = 1, 99  # per cent; a few pixels that are off decide nothing
MIN_VALUES = 256  # fewer values than that would be noise made visible


def parse_range(values: Sequence[int] | None) -> tuple[int, int]:
    """
    Return the limits as they were set; :data:`AUTO` for none, or for 0 and 0.

    :raises LfmError: INVALID_VALUE.
    """
    found = tuple(values or AUTO)
    if found != AUTO and not (len(found) == 2 and 0 <= found[0] < found[1] <= LARGEST):
        raise LfmError(ErrorCode.INVALID_VALUE, f'it is {list(found)}: set the values of black '
                       f'and of white, 0 to {LARGEST}, such as [0, 1023], or [0, 0] to find them '
                       'in each image')
    return found[0], found[1]


def from_16_bits(values: np.ndarray, limits: tuple[int, int]) -> tuple[np.ndarray, str]:
    """
    Return an image as bytes, and what was done.

    :param values: uint16 ``[height, width]``.
    :param limits: values that are shown as black and as white; AUTO: as they are found.
    """
    if limits != AUTO:
        return to_bytes(values, limits), ''
    low, high = find_range(values)
    return to_bytes(values, (low, high)), (
        f'an image of 16 bits is shown with {low} as black and {high} as white, as its values '
        'suggest')


def find_range(values: np.ndarray) -> tuple[int, int]:
    """
    Return which values to show as black and as white, by all but the most extreme hundredths.

    :param values: uint16 ``[height, width]``.
    """
    step = max(1, int((values.size / SAMPLES) ** 0.5))
    step += step % 2 == 0  # an odd one meets all colours of a mosaic
    low, high = np.percentile(values[::step, ::step], (DARKEST, BRIGHTEST)).astype(int).tolist()
    if high - low + 1 < MIN_VALUES:
        low = max(0, (low + high + 1 - MIN_VALUES) // 2)
        high = low + MIN_VALUES - 1
    return low, high


def to_bytes(values: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """
    Return values as bytes: of 0 to 65535 the upper eight bits, of 0 to 1023 those of ten bits.

    :param values: uint16, of any shape.
    :param limits: what is shown as black and as white.
    """
    low, high = limits
    scaled = (np.arange(LARGEST + 1) - low) * 256 // (high - low + 1)
    return scaled.clip(0, 255).astype(np.uint8)[values]
