# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model that another process measures for `lfm bench`."""
from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from lfm_ros.cli.option_names import with_option_names
from lfm_ros.cli.output import visible
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import same_modules

_HIDE = '\r\033[K'  # to the start of the line, and clear it


class Child:
    """
    One model in a process of its own.

    :param arguments: those of `lfm bench`; ``model`` is the one to open.
    :ivar about: what is to be told of the model.
    :ivar rows: what was measured, by history.
    :ivar failure: why nothing more can be measured; empty while all is well.
    :raises LfmError: when the model cannot be opened.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._prog = arguments.prog
        self._name = arguments.model
        self.rows: dict[int, dict[str, Any]] = {}
        self.failure = ''
        self._row: dict[str, Any] = {}
        self._rounds: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'lfm_ros.cli.bench.measure'], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, encoding='ascii', start_new_session=True,
            env=same_modules())
        try:
            names = ('model', 'variant', 'threads', 'context', 'prefill', 'decode',
                     'pretend', 'plain', 'provider', 'provider_option', 'cores')
            self.about = self._ask(**{name: getattr(arguments, name) for name in names})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            try:
                stream.close()
            except BrokenPipeError:  # what was not yet read is not needed
                pass

    def go_to(self, history: int) -> None:
        """Begin a row at a history that is longer than those before."""
        found = self._try(do='go_to', history=history)
        self._rounds = []
        if found:
            self._row = {'history': history, **found}

    def round(self) -> None:
        """Measure once."""
        found = self._try(do='round')
        if found:
            self._rounds.append(found)

    def end_row(self) -> None:
        """Keep the medians of the rounds, and how they compare to those without history."""
        sizes = self._try(do='sizes')
        if not sizes:
            return
        row = {**self._row, **sizes}
        for name in self._rounds[0]:
            row[name] = statistics.median(r[name] for r in self._rounds)
        first = self.rows.get(0, row if not row['history'] else None)
        for name, key in (('turn_ratio', 'turn_seconds'), ('rss_ratio', 'rss_bytes'),
                          ('decode_ratio', 'decode_tokens_per_second')):
            row[name] = row[key] / first[key] if first else None
        row['rss_bytes_per_token'] = None
        if first and row['history']:
            row['rss_bytes_per_token'] = (row['rss_bytes'] - first['rss_bytes']) / row['history']
        self.rows[row['history']] = row

    def _try(self, **asked: Any) -> dict[str, Any]:
        """Ask; what fails is kept as the failure, and nothing more is asked then."""
        if self.failure:
            return {}
        try:
            return self._ask(**asked)
        except LfmError as error:
            self.failure = with_option_names(error.message)
            return {}

    def _ask(self, **asked: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            print(json.dumps(asked), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it has ended, which is told below
        try:
            for line in self._process.stdout:
                answer = json.loads(line)
                if 'position' in answer:
                    self._show(f"{self._name}: {answer['position']:,} tokens read")
                elif 'error_code' in answer:
                    raise LfmError(ErrorCode(answer['error_code']), answer['error_msg'])
                else:
                    return answer['result']
        finally:
            self._show('')
        status = self._process.wait()
        if status < 0:
            raise LfmError(ErrorCode.OUT_OF_MEMORY, f'the process that measured {self._name} was '
                           f'killed by signal {-status}, perhaps out of memory: lower --contexts '
                           'or take a smaller model')
        raise LfmError(ErrorCode.INTERNAL, f'the process that measured {self._name} ended with '
                       f'status {status}: what it printed above says why')

    def _show(self, text: str) -> None:
        """Show on a terminal how far it is."""
        if sys.stderr.isatty():
            print(_HIDE + visible(f'{self._prog}: {text}' if text else ''), end='',
                  file=sys.stderr, flush=True)
