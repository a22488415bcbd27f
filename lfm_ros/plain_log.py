# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lines of a log that cannot be forged, or do anything to a terminal."""
from __future__ import annotations

import logging
from typing import Any

from lfm_ros.errors import MAX_MESSAGE_LENGTH
from lfm_ros.errors import printable


class PlainFormatter(logging.Formatter):
    """Writes out what does not print: lines quote names from models, missions and files."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (of logging)
        """Return the line of a record."""
        return printable(super().formatMessage(record), 2 * MAX_MESSAGE_LENGTH)

    def formatException(self, ei: Any) -> str:  # noqa: N802 (of logging)
        """Return a traceback, whose lines stay lines."""
        lines = super().formatException(ei).splitlines()
        return '\n'.join(printable(line, MAX_MESSAGE_LENGTH) for line in lines)
