# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What text may hold: from outside no invalid UTF-8, in messages no NUL."""
from __future__ import annotations

import re

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

# What a decoder leaves of invalid bytes: rclpy writes U+FFFD, sys.argv lone surrogates.
_NOT_UTF8 = re.compile('[\ufffd\ud800-\udfff]')


def check_text(text: str, what: str) -> None:
    """
    Refuse text that was not valid UTF-8 where it came from.

    :param what: how the error names it, such as ``prompt``.
    """
    if bad := _NOT_UTF8.search(text):
        raise LfmError(ErrorCode.INVALID_TEXT, f'the {what} was not valid UTF-8 when it was '
                       f'sent (character {bad.start() + 1}): encode it as UTF-8')


def to_text(text: str) -> str:
    """Return text for a message: rclpy would cut it at a NUL, which a model may well write."""
    return text.replace('\0', '\ufffd')
