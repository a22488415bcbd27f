# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The keys that are pressed while `lfm top` shows a node."""
from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Any


class Keys:
    """
    Reads single keys from a terminal, which gets its settings back at the end.

    Where standard input is none, no key is ever pressed.
    """

    def __init__(self) -> None:
        self._terminal = sys.stdin.fileno() if sys.stdin and sys.stdin.isatty() else -1
        self._settings: list[Any] = []

    def __enter__(self) -> Keys:
        if self._terminal >= 0:
            self._settings = termios.tcgetattr(self._terminal)
            tty.setcbreak(self._terminal)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._settings:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._settings)

    def pressed(self, keys: str) -> bool:
        """Return whether one of these was pressed since the last time."""
        if self._terminal < 0 or not select.select([self._terminal], [], [], 0)[0]:
            return False
        return bool(set(keys) & set(os.read(self._terminal, 256).decode(errors='replace')))
