# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A terminal on which the command `lfm` runs."""
from __future__ import annotations

from collections.abc import Mapping
import os
import pty
import select
import subprocess
import termios
import time

from support import command
from support import environment
from support import WAIT


class Terminal:
    """`lfm` on a terminal of its own; a context manager."""

    def __init__(self, *arguments: object, env: Mapping[str, str] | None = None) -> None:
        self._mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command(*arguments), env={**(env or environment()), 'TERM': 'xterm'}, stdin=theirs,
            stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.text = ''

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._mine)

    @property
    def echoes(self) -> bool:
        """Whether keys are shown when they are pressed, and read line by line."""
        flags = termios.tcgetattr(self._mine)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._mine, keys.encode())

    def read_until(self, *texts: str) -> None:
        """Wait until all texts have come, in this order."""
        end = time.monotonic() + WAIT
        for text in texts:
            while text not in self.text:
                left = end - time.monotonic()
                assert left > 0 and select.select([self._mine], [], [], left)[0], self.text[-3000:]
                self.text += os.read(self._mine, 1 << 16).decode(errors='replace')
            self.text = self.text[self.text.index(text) + len(text):]
