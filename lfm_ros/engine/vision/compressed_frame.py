# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ``sensor_msgs/CompressedImage`` as a source: what its format says beside JPEG or PNG."""
from __future__ import annotations

import re
from typing import Any

from lfm_ros.engine.vision.colours import demosaic
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.engine.vision.image import invalid
from lfm_ros.engine.vision.image_file import name_of
from lfm_ros.engine.vision.mono16 import AUTO
from lfm_ros.engine.vision.raw_frame import BAYER
import numpy as np

# As compressed_image_transport and compressed_depth_image_transport write it.
_FORMAT = re.compile(r'\s*(\w+)\s*;\s*(\w+)(?:\s+compressed)?\s*(\w*)\s*', re.ASCII)
_DEPTH, _PNG = 'compressedDepth', b'\x89PNG'
_DEPTH_HEAD = 12  # bytes of compressedDepth before its PNG: a number and two floats
_TAKEN = re.compile('jpe?g|png', re.IGNORECASE)
_SIXTEEN = ('mono16', '16UC1', *(name for name in BAYER if name.endswith('16')))


class CompressedFrame(EncodedImage):
    """
    A ``sensor_msgs/CompressedImage`` with JPEG or PNG.

    Its bytes decide which. Its format decides what they show, where the bytes do not tell: a
    mosaic is saved as if it were grey.

    :raises LfmError: INVALID_IMAGE, when its format says that it shows nothing.
    """

    def __init__(self, message: Any, mono16_range: tuple[int, int] = AUTO) -> None:
        data = bytes(message.data)
        found = _FORMAT.fullmatch(message.format)
        encoding, codec, saved = found.groups() if found else ('', '', '')
        shown = repr(message.format[:60])
        if codec == _DEPTH or data.startswith(_PNG, _DEPTH_HEAD):
            if encoding not in ('16UC1', 'mono16') or saved not in ('', 'png'):
                raise invalid(f'an image has the format {shown}: of depth only 16UC1 as png is '
                              'shown, so have the publisher send that, or send a colour image')
            data = data[_DEPTH_HEAD:]
        elif codec == 'jpeg' and encoding in _SIXTEEN and not saved:
            raise invalid(f'an image has the format {shown}, but JPEG has 8 bits and all above '
                          '255 is lost: have the publisher send png')
        elif data and not name_of(data) and not _TAKEN.search(message.format):
            raise invalid(f'an image of {len(data)} bytes has the format {shown}, which is '
                          'neither JPEG nor PNG: have the publisher send one of them')
        super().__init__(data, mono16_range)
        self.header = message.header
        # Some publishers save the luma of a mosaic: that is grey indeed.
        self._mosaic = BAYER.get(encoding, '') if saved in ('', encoding) else ''

    def pixels(self) -> np.ndarray:
        """Return its pixels, see :class:`lfm_ros.engine.vision.image.ImageSource`."""
        if not self._mosaic:
            return super().pixels()
        values = self.decode()
        return values if values.ndim == 3 else demosaic(values, self._mosaic)
