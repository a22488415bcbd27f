# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of native code: who looks on sees how long one takes, and can end a run of a graph."""
from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import Any
from typing import TypeVar

from lfm_ros.engine.run_errors import run_error
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import onnxruntime

_FATAL_ONLY = 4
_SHRINK = 'memory.enable_memory_arena_shrinkage'

Result = TypeVar('Result')


class Interrupted(Exception):
    """A run was ended from outside, in the middle of a graph or before it began."""


class Interrupt:
    """Ends what the model does for one request, from any thread."""

    def __init__(self) -> None:
        # Setting an entry back is answered with a warning in the log, so there are two of them.
        self._options = _run_options()
        self._shrinking = _run_options()
        self._shrinking.add_run_config_entry(_SHRINK, 'cpu:0')
        self.is_set = False
        self._overdue = 0.0

    def options(self, shrink: bool) -> Any:
        """Return the options of a run; one that shrinks gives memory kept for others back."""
        return self._shrinking if shrink else self._options

    @property
    def is_overdue(self) -> bool:
        """Tell whether a run that used it took too long."""
        return self._overdue > 0

    def set(self) -> None:
        """End the run that uses this interrupt at its next operator, and refuse later ones."""
        self.is_set = True
        self._terminate()

    def end_overdue(self, seconds: float) -> None:
        """End the run likewise because it has taken more than so many seconds."""
        self._overdue = seconds
        self._terminate()

    def reason(self) -> Exception | None:
        """Return what ended the run; None: it was not ended from here."""
        if self.is_set:
            return Interrupted()
        if self.is_overdue:
            return LfmError(ErrorCode.MODEL_HUNG, f'a call of the model took longer than '
                            f'{self._overdue:g} s and was ended: ask again, or raise '
                            'model.run_timeout if this machine is that slow')
        return None

    def _terminate(self) -> None:
        for options in (self._options, self._shrinking):
            options.terminate = True


def _run_options() -> Any:
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL_ONLY
    return options


class Run:
    """
    One call of ONNX Runtime in progress.

    :ivar interrupt: ends it, where ONNX Runtime still looks at that.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self._started = time.monotonic()
        self._outcome = threading.Lock()  # belongs to the one who decides what becomes of it

    @property
    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.monotonic() - self._started

    def end(self) -> None:
        """Take note that it has come back; of one that was given up this never returns."""
        self._outcome.acquire()

    def give_up(self) -> bool:
        """
        Go on without it: should it come back after all, its thread does nothing any more.

        :returns: false when it has come back before.
        """
        return self._outcome.acquire(blocking=False)


class Runs:
    """
    Makes the calls of all graphs of one model and of its tokenizer, one at a time.

    :ivar current: the one in progress; replaced whole, other threads look at it.
    """

    def __init__(self) -> None:
        self.current: Run | None = None

    def call(self, work: Callable[[Any], Result], interrupt: Interrupt | None = None,
             what: str = 'model', shrink: bool = False) -> Result:
        """
        Make a call.

        :param work: calls ONNX Runtime with the run options that it is given.
        :param interrupt: None: of its own, for what nobody but an onlooker ends.
        :param what: is run, for the message of an error.
        :param shrink: give back what all graphs keep of the memory of earlier calls.
        :raises Interrupted: when the interrupt was set.
        :raises LfmError: MODEL_HUNG and what :func:`run_error` makes of other failures.
        """
        run = self.current = Run(interrupt or Interrupt())
        try:
            return work(run.interrupt.options(shrink))
        except (KeyboardInterrupt, SystemExit, LfmError):
            raise
        except BaseException as error:  # one class for every status, and panics of Rust
            raise run.interrupt.reason() or run_error(error, what) from error
        finally:
            self.current = None
            run.end()
