# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Render chat templates in another process, which ends when one takes too much."""
from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import threading
from typing import Any

from lfm_ros.engine.text import template_child
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

# Of one rendering, the start of the process included, on a machine that is busy.
RENDER_SECONDS = 30.0
_MAX_REPLY_LENGTH = 6 * template_child.MAX_TEXT + 1000  # every character may be written as \uXXXX


class RenderError(Exception):
    """
    The template failed; the message gives the reason, in words of the template.

    :ivar forbidden: whether it tried what the sandbox forbids.
    """

    def __init__(self, reason: str, forbidden: bool = False) -> None:
        super().__init__(reason)
        self.forbidden = forbidden


class TemplateProcess:
    """
    Starts the process when it is needed, and again when it has ended.

    A single filter of Jinja can take all memory, or years, inside of one call in C; only another
    process can be limited and ended.

    :param seconds: that one rendering may take.
    """

    def __init__(self, seconds: float = RENDER_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def start(self) -> None:
        """Start the process if it does not run, so that its imports are done when it renders."""
        with self._lock:
            self._running()

    def render(self, source: str, variables: dict[str, Any]) -> str:
        """
        Return the text of a template.

        :param source: Jinja.
        :param variables: what JSON can hold, by name.
        :raises RenderError: when the template fails, or takes too much.
        :raises LfmError: OUT_OF_MEMORY, when there can be no process.
        """
        line = json.dumps({'source': source, 'variables': variables}).encode() + b'\n'
        with self._lock:
            reply = self._ask(line)
            if reply is None:  # it had been idle, and ended at this very moment
                reply = self._ask(line)
        if reply is None or not reply.endswith(b'\n'):
            raise RenderError('it takes too much time or memory')
        found = json.loads(reply)
        if 'text' not in found:
            raise RenderError(found['error'], found['forbidden'])
        return str(found['text'])

    def _ask(self, line: bytes) -> bytes | None:
        """Return the answer to a line; it has no end when the process was ended, None if idle."""
        process = self._running()
        assert process.stdin and process.stdout
        # Ending the process ends what waits for it here.
        timer = threading.Timer(self._seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            reply = process.stdout.readline(_MAX_REPLY_LENGTH)
        except OSError:
            reply = b''
        finally:
            timer.cancel()
        if reply.endswith(b'\n'):
            return reply
        return None if self._end() == 0 else b''

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process and self._owner != os.getpid():
            self._process = None  # it belongs to the process that this one was forked from
        if self._process and self._process.poll() is not None:
            self._end()
        if self._process is None:
            self._process, self._owner = self._start(), os.getpid()
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        path = [os.path.abspath(entry) for entry in sys.path]
        try:
            return subprocess.Popen(
                [sys.executable, '-I', '-S', str(Path(template_child.__file__).resolve()),
                 json.dumps(path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                cwd='/', env={'TZ': os.environ['TZ']} if 'TZ' in os.environ else {},
                start_new_session=True)
        except OSError as error:
            raise LfmError(ErrorCode.OUT_OF_MEMORY, 'the process in which chat templates are '
                           f'rendered cannot be started ({error}): free memory or processes'
                           ) from error

    def _end(self) -> int:
        """End the process, where it has not ended yet, and return its exit code."""
        process, self._process = self._process, None
        assert process and process.stdin and process.stdout
        for stream in (process.stdin, process.stdout):
            try:
                stream.close()
            except OSError:  # what was not written yet
                pass
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


SHARED = TemplateProcess()
