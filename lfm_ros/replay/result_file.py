# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Results as lines of JSON that survive a kill: one for each question, written once."""
from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

_OPENING = '{"run": "'


class ResultFile:
    """
    A file of results that can be continued; a context manager.

    :ivar path: of the file; None: nothing is kept.
    :param run: names the model and the options; a file with those of another is refused.
    :ivar lines: all results in it.
    :raises LfmError: INVALID_VALUE.
    """

    def __init__(self, path: Path | None, run: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.path = path
        self._run = run
        self._file = None
        if path is None:
            return
        # What was said is for nobody else.
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), 'a+b')
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise _refusal(f'another process writes {path}: wait for it, or give another --out'
                           ) from error
        try:
            self._read(path)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def of(self, bag: str) -> list[dict[str, Any]]:
        """Return the results of a recording, in the order in which they were written."""
        return [line for line in self.lines if line['bag'] == bag]

    def append(self, fields: dict[str, Any]) -> None:
        """Write a result; it is on the disk when this returns."""
        line = {'run': self._run, **fields}
        self.lines.append(line)
        if self._file:
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b'\n')
            self._file.flush()
            os.fsync(self._file.fileno())

    def _read(self, path: Path) -> None:
        assert self._file
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b'\n') + 1
        for number, text in enumerate(data[:whole].splitlines(), 1):
            try:
                line = json.loads(text)
                run, _, _ = line['run'], line['bag'], line['question']
            except (ValueError, KeyError, TypeError) as error:
                raise _refusal(f"line {number} of {path} is no result of 'lfm replay': give "
                               'another --out') from error
            if run != self._run:
                raise _refusal(f'{path} has the results of another model or other options: give '
                               'another --out')
            self.lines.append(line)
        rest = data[whole:].decode(errors='replace')
        if not (_OPENING.startswith(rest) or rest.startswith(_OPENING)):
            raise _refusal(f"{path} is no file of 'lfm replay': give another --out")
        if rest:  # a line that was cut by a kill
            self._file.truncate(whole)


def _refusal(sentence: str) -> LfmError:
    return LfmError(ErrorCode.INVALID_VALUE, sentence)
