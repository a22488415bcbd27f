# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ends runs of the model that take too long."""
from __future__ import annotations

from collections.abc import Callable
import threading

from lfm_ros.engine.runtime.ort_runs import OrtRuns

# Seconds that a run gets to end when it is cancelled. ONNX Runtime checks that between two
# operators, of which a run has hundreds: one alone takes a small part of model.run_timeout.
GRACE = 5.0


class Watchdog:
    """
    Looks on, in a thread of its own, while the model runs.

    It checks once in the time that a run may take, and when one in progress is due: nothing is
    asked of the thread of the model, and next to nothing of the processor.

    :param runs: the runs of the model.
    :param timeout: seconds that a run may take, more than 0.
    :param on_hang: called in this thread, once, when a run did not end although it was cancelled;
        its thread is lost, whatever becomes of the run.
    """

    def __init__(self, runs: OrtRuns, timeout: float, on_hang: Callable[[], None]) -> None:
        self._ort_runs = runs
        self._timeout = timeout
        self._on_hang = on_hang
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name='lfm_watchdog', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.wait(self._until_next_check()):
            run = self._ort_runs.current
            if run is None or run.seconds < self._timeout:
                continue
            run.cancel_token.end_overdue(self._timeout)
            self._stopped.wait(GRACE)
            if self._ort_runs.current is run and run.give_up():
                self._on_hang()
                return

    def _until_next_check(self) -> float:
        run = self._ort_runs.current
        return max(0.0, self._timeout - run.seconds) if run else self._timeout
