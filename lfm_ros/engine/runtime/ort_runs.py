# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of native code: a watchdog sees how long one takes, and can cancel that of a graph."""
from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import Any
from typing import TypeVar

from lfm_ros.engine.runtime.ort_errors import DeviceLostError
from lfm_ros.engine.runtime.ort_errors import run_error
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import onnxruntime

_FATAL_ONLY = 4
_NO_CAPTURE = -1
SHRINK = 'memory.enable_memory_arena_shrinkage'

Result = TypeVar('Result')


class RunCancelled(Exception):
    """A run was ended from outside, in the middle of a graph or before it began."""


class CancelToken:
    """Ends what the model does for one request, from any thread."""

    def __init__(self) -> None:
        # Resetting an entry puts a warning into the log, so there are two of them.
        self._options = run_options()
        self._shrinking = run_options()
        self._shrinking.add_run_config_entry(SHRINK, 'cpu:0')
        self.is_set = False
        self._overdue = 0.0

    def options(self, shrink: bool) -> Any:
        """Return the options of a run; one that shrinks gives memory kept for others back."""
        return self._shrinking if shrink else self._options

    @property
    def is_overdue(self) -> bool:
        """Whether a run that used it took too long."""
        return self._overdue > 0

    def set(self) -> None:
        """End the run that uses this token at its next operator, and refuse later ones."""
        self.is_set = True
        self._terminate()

    def end_overdue(self, seconds: float) -> None:
        """End the run likewise because it has taken more than so many seconds."""
        self._overdue = seconds
        self._terminate()

    def reason(self) -> Exception | None:
        """Return what ended the run; None: it was not ended from here."""
        if self.is_set:
            return RunCancelled()
        if self.is_overdue:
            return LfmError(ErrorCode.MODEL_HUNG, 'a model run took longer than '
                            f'{self._overdue:g} s and was terminated: ask again, or raise '
                            'model.run_timeout if this machine is that slow')
        return None

    def _terminate(self) -> None:
        for options in (self._options, self._shrinking):
            options.terminate = True


def run_options(capture: int | None = None) -> Any:
    """
    Return the options of a run.

    :param capture: the number by which a GPU captures it, the first time, and replays it later;
        None: it does not.
    """
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL_ONLY
    options.add_run_config_entry('gpu_graph_id', str(_NO_CAPTURE if capture is None else capture))
    return options


class OrtRun:
    """
    One run of ONNX Runtime in progress.

    :ivar cancel_token: ends it, where ONNX Runtime still checks that.
    """

    def __init__(self, cancel_token: CancelToken) -> None:
        self.cancel_token = cancel_token
        self._started = time.monotonic()
        self._outcome = threading.Lock()  # held by whoever decides its outcome

    @property
    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.monotonic() - self._started

    def end(self) -> None:
        """Note that it has returned; where it was given up, this never returns."""
        self._outcome.acquire()

    def give_up(self) -> bool:
        """
        Go on without it: should it return after all, its thread does nothing any more.

        :returns: false when it has returned before.
        """
        return self._outcome.acquire(blocking=False)


class OrtRuns:
    """
    Makes the runs of all graphs of one model and of its tokenizer, one at a time.

    :ivar current: the one in progress; replaced whole, as other threads read it.
    :ivar lost: why the device of these graphs does no more work; None: it does.
    """

    def __init__(self) -> None:
        self.current: OrtRun | None = None
        self.lost: DeviceLostError | None = None

    def run(self, work: Callable[[Any], Result], cancel_token: CancelToken | None = None,
            what: str = 'model', shrink: bool = False) -> Result:
        """
        Make a run.

        :param work: calls ONNX Runtime with the run options that it is given.
        :param cancel_token: None: one of its own, which only a watchdog sets.
        :param what: is run, for the message of an error.
        :param shrink: give back what all graphs keep of the memory of earlier runs.
        :raises RunCancelled: when the token was set.
        :raises LfmError: MODEL_HUNG and what :func:`run_error` makes of other failures.
        """
        run = self.current = OrtRun(cancel_token or CancelToken())
        try:
            return work(run.cancel_token.options(shrink))
        except (KeyboardInterrupt, SystemExit, LfmError):
            raise
        except BaseException as error:  # one class for every status, and panics of Rust
            found = run.cancel_token.reason() or run_error(error, what)
            if isinstance(found, DeviceLostError):
                self.lost = found
            raise found from error
        finally:
            self.current = None
            run.end()
