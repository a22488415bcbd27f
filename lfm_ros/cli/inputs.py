# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Texts that are given as arguments, in files or on standard input."""
from __future__ import annotations

from contextlib import suppress
import io
from pathlib import Path
import re
import sys

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

STDIN = '-'
JSON = re.compile(r'\s*(?:[\[{"]|(?:true|false|null)\s*$)')
LARK = re.compile(r'[^\n]*[:\n]')


def given_text(text: str) -> str:
    """Return a text, or standard input where the text is a dash."""
    if text != STDIN:
        return text
    if sys.stdin is None:
        raise LfmError(ErrorCode.INVALID_VALUE, f"'{STDIN}' stands for standard input, which is "
                       'closed: pipe a text into the command')
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors='surrogateescape')  # refused as a text, not a traceback
    return sys.stdin.read().removesuffix('\n')


def text_or_file(value: str, option: str, text_like: re.Pattern[str]) -> str:
    """
    Return the text that an option gives: itself, in a file, or on standard input.

    :param text_like: matches what is a text when there is no such file.
    :raises LfmError: INVALID_VALUE when the file cannot be read.
    """
    if value == STDIN:
        return given_text(value)
    is_file = False
    with suppress(OSError, ValueError, RuntimeError):  # a text can be too long for a name
        is_file = Path(value).expanduser().is_file()
    if not is_file and text_like.match(value):
        return value
    try:
        return Path(value).expanduser().read_text(encoding='utf-8-sig')
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, 'strerror', '') or str(error)
        raise LfmError(ErrorCode.INVALID_VALUE, f'the file {value!r} of {option} cannot be read '
                       f'({reason}): check its name, or give the text itself') from error
