# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
What every driver does: obey one command a line, answer one result a line, both in JSON.

    {"do": "prefill", "ids": [...]}   from an empty cache -> {"seconds": ..., "ids": [first]}
    {"do": "decode", "tokens": 64}    behind it, greedily -> {"seconds": ..., "ids": [...]}
    {"do": "ttft", "ids": [...]}      more ids behind all that -> {"seconds": ..., "ids": [first]}
    {"do": "memory"}                  -> bytes: rss, private, anonymous, peak

One decoded token is one run of the model and the choice of the most likely token. The last token
chosen has not been read when more ids come, so each engine reads it along with them.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import sys
import time
from typing import Any
from typing import Protocol


class Engine(Protocol):
    """A loaded model with one cache."""

    def clear(self) -> None:
        """Empty the cache; not timed."""

    def read(self, ids: Sequence[int]) -> int:
        """Read ids behind the cache and return the most likely next token, which is not read."""

    def write(self, tokens: int) -> list[int]:
        """Read the last token chosen and choose the next, so many times."""

    def read_more(self, ids: Sequence[int]) -> int:
        """Read the last token chosen and these ids, and return the most likely next token."""


class Stepwise:
    """An engine whose ``read`` notes its choice in ``_last``, which is then read with the next."""

    _last: int

    def read(self, ids: Sequence[int]) -> int:
        """Read ids, see :class:`Engine`."""
        raise NotImplementedError

    def write(self, tokens: int) -> list[int]:
        """Read the last token chosen and choose the next, so many times."""
        return [self.read([self._last]) for _ in range(tokens)]

    def read_more(self, ids: Sequence[int]) -> int:
        """Read the last token chosen and these ids."""
        return self.read([self._last, *ids])


def parser() -> argparse.ArgumentParser:
    """Return the arguments that all drivers take."""
    made = argparse.ArgumentParser()
    made.add_argument('model')
    made.add_argument('--threads', type=int, default=2)
    made.add_argument('--context', type=int, default=8704, help='tokens the cache is made for')
    return made


def take_output() -> Any:
    """Return the standard output for results, and send what libraries print elsewhere."""
    results = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    return results


def serve(engine: Engine, results: Any, facts: dict[str, Any]) -> None:
    """Obey commands until there are no more."""
    print(json.dumps(facts), file=results, flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(engine, json.loads(line))), file=results, flush=True)


def obey(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a command."""
    kind = command['do']
    if kind == 'memory':
        return memory()
    if kind == 'prefill':
        engine.clear()
    started = time.perf_counter()
    if kind == 'prefill':
        ids = [engine.read(command['ids'])]
    elif kind == 'ttft':
        ids = [engine.read_more(command['ids'])]
    elif kind == 'decode':
        ids = engine.write(command['tokens'])
    else:
        raise ValueError(f'{kind} is no command')
    return {'seconds': time.perf_counter() - started, 'ids': ids}


def memory() -> dict[str, int]:
    """
    Return the bytes this process holds.

    :returns: private: what ending it would free; anonymous: without pages of files; peak: of rss.
    """
    status = _kilobytes('/proc/self/status')
    rollup = _kilobytes('/proc/self/smaps_rollup')
    return {
        'rss': 1024 * status['VmRSS'],
        'private': 1024 * sum(size for name, size in rollup.items()
                              if name.startswith('Private_')),
        'anonymous': 1024 * (status['RssAnon'] + status['RssShmem']),
        'peak': 1024 * status['VmHWM']}


def _kilobytes(path: str) -> dict[str, int]:
    found = {}
    for line in Path(path).read_text().splitlines():
        name, _, rest = line.partition(':')
        if rest.endswith(' kB'):
            found[name] = int(rest.split()[0])
    return found
