# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The errors that a user can meet, each with a code and one sentence."""
from collections.abc import Iterable
from enum import IntEnum

# Characters of a sentence; what is longer quotes something from outside, in its middle.
MAX_MESSAGE_LENGTH = 1000
MAX_QUOTE_LENGTH = 300
_ELLIPSIS = ' ... '


class ErrorCode(IntEnum):
    """What went wrong; the numbers are those of ``msg/Response``."""

    NONE = 0
    EMPTY_PROMPT = 100
    INVALID_TEXT = 101
    INVALID_SAMPLING = 102
    INVALID_VALUE = 103
    PROMPT_TOO_LONG = 104
    CONTEXT_FULL = 105
    INVALID_MISSION_ID = 106
    UNKNOWN_MISSION = 107
    MISSION_EXISTS = 108
    UNKNOWN_TURN = 109
    NO_VISION = 110
    UNSUPPORTED = 111
    ARCHIVE_INVALID = 112
    INVALID_IMAGE = 113
    INVALID_FORMAT = 114
    INVALID_TOOL = 115
    QUEUE_FULL = 200
    DISPLACED = 201
    TIMEOUT_IN_QUEUE = 202
    TIMEOUT = 203
    CANCELLED = 204
    NOT_ACTIVE = 205
    TOO_MANY_MISSIONS = 206
    OVER_BUDGET = 207
    STORAGE_FAILED = 208
    NO_CAMERA_FRAME = 209
    STALE_IMAGE = 210
    MODEL_NOT_FOUND = 300
    MODEL_DAMAGED = 301
    MODEL_FOREIGN = 302
    WEIGHTS_MISSING = 303
    TOKENIZER_INVALID = 304
    VOCABULARY_MISMATCH = 305
    TEMPLATE_INVALID = 306
    RUNTIME_TOO_OLD = 307
    PROVIDER_UNAVAILABLE = 308
    BUDGET_TOO_SMALL = 309
    MISSIONS_LOCKED = 310
    KEY_INVALID = 311
    MODEL_RUN_FAILED = 400
    OUT_OF_MEMORY = 401
    MODEL_HUNG = 402
    INTERNAL = 500


class LfmError(Exception):
    """
    A failure that the user can understand and mend.

    :param code: which failure it is.
    :param message: one sentence: what is wrong and what to do. It may quote text from outside:
        what does not print is written out, and the middle of a very long one is left out.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        message = printable(message, MAX_MESSAGE_LENGTH)
        super().__init__(message)
        self.code = code
        self.message = message


def few(names: Iterable[str], most: int = 5) -> str:
    """Return names for a sentence: the first ones, and how many more there are."""
    every = list(names)
    left = len(every) - most
    return ', '.join([*every[:most], *([f'... and {left} more'] if left > 0 else [])])


def printable(text: str, most: int) -> str:
    """
    Return text from outside as a terminal and a log may show it.

    :param most: characters of the result; of a longer text only both ends are kept.
    :returns: one line without control characters, each of which is written as in Python.
    """
    text = _ends(text, most)  # first of all: a name may have millions of characters
    if text.isprintable():
        return text
    return _ends(''.join(c if c.isprintable() else _escape(c) for c in text), most)


def quote(reason: object) -> str:
    """Return what a library, a template or a file says, on one line and short."""
    return printable(' '.join(_ends(str(reason), 8 * MAX_QUOTE_LENGTH).split()), MAX_QUOTE_LENGTH)


def _ends(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = (most - len(_ELLIPSIS)) // 3
    return text[:most - len(_ELLIPSIS) - end] + _ELLIPSIS + text[-end:]


def _escape(character: str) -> str:
    return character.encode('unicode_escape').decode('ascii')
