# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""End the process when a model does not open: nothing else stops ONNX Runtime at that."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
import logging
import os
from pathlib import Path
import threading

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

_log = logging.getLogger(__name__)

OPEN_SECONDS = 300.0  # what a small model may take
OPEN_BYTES_PER_SECOND = 2 << 20  # of its files in addition: slower than an SD card
GRACE = 10.0          # seconds for a run to end after it was cancelled
HANGS = 75            # exit code, that of the node when its model hangs; EX_TEMPFAIL of sysexits.h


def opening_seconds(files: Iterable[Path]) -> float:
    """Return how long it may take to open a model, or to prepare it, of these files."""
    return OPEN_SECONDS + sum(p.stat().st_size for p in files) / OPEN_BYTES_PER_SECOND


@contextmanager
def limited(seconds: float, what: str,
            end_run: Callable[[LfmError], None] = lambda _: None) -> Iterator[None]:
    """
    Let a block take only so long, or end the process.

    ONNX Runtime folds constants and merges nodes when it opens a graph, and a small file can
    have it do that for years. It checks its own flag to cancel that too rarely (1.31), and a
    thread cannot be ended.

    :param what: is opened, for the message.
    :param end_run: called once a second to end a run in progress, where there is one; the
        block gets :data:`GRACE` seconds more.
    """
    over = threading.Event()

    def watch() -> None:
        if over.wait(seconds):
            return
        error = LfmError(ErrorCode.MODEL_HUNG, f'{what} did not open within {seconds:.0f} s: take '
                         'it from a source you trust, or use a smaller one')
        for _ in range(int(GRACE)):
            end_run(error)
            if over.wait(1.0):
                return
        _log.critical(f'{error.message}; this process ends')
        os._exit(HANGS)

    thread = threading.Thread(target=watch, name='lfm_opening', daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
