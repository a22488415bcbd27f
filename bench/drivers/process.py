# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A driver in a process of its own, which stands still while another one works."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import json
import os
from pathlib import Path
import signal
import subprocess
import tempfile
from typing import Any

BENCH = Path(__file__).resolve().parents[1]


class DriverProcess:
    """
    A started driver; :meth:`awake` lets it run, outside of it the process is stopped.

    Thread pools keep spinning for a while after their work, and some for ever. A stopped process
    takes no time from the one that is measured.

    :param module: name of the driver.
    :param python: the interpreter that has its engine.
    :ivar facts: what the driver says of its engine.
    """

    def __init__(self, module: str, python: str, arguments: Sequence[str]) -> None:
        paths = [str(BENCH.parent), *filter(None, [os.environ.get('PYTHONPATH')])]
        self._errors = tempfile.TemporaryFile('w+')
        self._process = subprocess.Popen(
            [python, '-m', f'drivers.{module}', *arguments], cwd=BENCH, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)})
        self.facts = self._answer()
        self._process.send_signal(signal.SIGSTOP)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the process run."""
        self._process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """
        Return the result of a command.

        :raises RuntimeError: with what the driver printed, when it ended instead.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({'do': do, **values}) + '\n')
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f'{self._process.args!r} ended:\n{self._errors.read()[-3000:]}')
        return dict(json.loads(line))
