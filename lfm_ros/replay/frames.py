# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of cameras in a recording, and those that a node looked at."""
from __future__ import annotations

from collections import Counter
import struct
from typing import Any

from lfm_ros.engine.vision.compressed_frame import CompressedFrame
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.engine.vision.image import invalid
from lfm_ros.engine.vision.raw_frame import RawFrame
from lfm_ros.errors import quote
from lfm_ros.replay.decoder import IMAGE
from lfm_ros.replay.decoder import MessageDecoder
from lfm_ros.replay.decoder import RawMessage

_HEAD = 4  # bytes of CDR before the first field; the second tells the order of bytes
_LITTLE = (1, 3)

Stamp = tuple[int, int]  # seconds and nanoseconds


def to_frame(raw: RawMessage, decoder: MessageDecoder) -> ImageSource:
    """
    Return the image in a message.

    :raises LfmError: INVALID_IMAGE and others, when there is none.
    """
    try:
        message = decoder.decode(raw)
    except ValueError as error:
        raise invalid(f'a message of {raw.topic} cannot be decoded ({quote(error)}): record it '
                      'anew') from error
    return RawFrame(message) if raw.type == IMAGE else CompressedFrame(message)


def stamp_of(header: Any) -> Stamp:
    """Return the stamp of a header; its seconds as an unsigned number, as mcap reads them."""
    return header.stamp.sec & 0xFFFFFFFF, header.stamp.nanosec


class LookedAt:
    """
    The frames of the camera that answers were about.

    :param stamps: of them, as often as each was looked at.
    """

    def __init__(self, stamps: Counter[Stamp]) -> None:
        self._wanted = stamps
        self._frames: dict[Stamp, RawMessage] = {}

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._wanted)

    def __contains__(self, stamp: Stamp) -> bool:
        """Return whether a frame has been met."""
        return stamp in self._frames

    def note(self, raw: RawMessage) -> None:
        """Keep a frame if it will be needed."""
        order = '<' if raw.data[1:2] and raw.data[1] in _LITTLE else '>'
        try:
            stamp = struct.unpack_from(f'{order}II', raw.data, _HEAD)
        except struct.error:
            return
        if self._wanted[stamp] > 0:  # of a camera with two topics that which comes first
            self._frames.setdefault(stamp, raw)

    def take(self, stamp: Stamp) -> RawMessage | None:
        """Return a frame, and forget it when nobody else will need it."""
        self._wanted[stamp] -= 1
        return self._frames.get(stamp) if self._wanted[stamp] > 0 else \
            self._frames.pop(stamp, None)
