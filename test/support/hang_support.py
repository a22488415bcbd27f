# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of ONNX Runtime that hang on command, as a kernel on a broken device does."""
from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

import lfm_ros  # noqa: F401
import onnxruntime

MAX_LENGTH = 60.0  # seconds after which a hang that nobody has ended is an error of the test


class Hang:
    """
    Makes one call to come hang.

    :ivar reached: set when it does.
    :ivar left: set when it has ended.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.left = threading.Event()
        self._released = threading.Event()
        self._calls_before = -1
        self._obeys = True

    def plan(self, call: int, obeys: bool = True) -> None:
        """
        Let a call hang.

        :param call: which one, counted from 1.
        :param obeys: whether it ends when it is told to, as ONNX Runtime does between operators.
        """
        self.reached.clear()
        self.left.clear()
        self._calls_before, self._obeys = call - 1, obeys

    def release(self) -> None:
        """Let a call that obeys nobody come back."""
        self._released.set()

    def install(self, replace: Callable[[Any, str, Any], None]) -> None:
        """Take the place of what calls ONNX Runtime; ``replace`` is that of pytest or setattr."""
        session = onnxruntime.InferenceSession
        run_bound, run = session.run_with_iobinding, session.run

        def hang_bound(own: Any, binding: Any, options: Any = None) -> Any:
            self._pass(options)
            return run_bound(own, binding, options)

        def hang(own: Any, names: Any, feeds: Any, options: Any = None) -> Any:
            self._pass(options)
            return run(own, names, feeds, options)

        replace(session, 'run_with_iobinding', hang_bound)
        replace(session, 'run', hang)

    def _pass(self, options: Any) -> None:
        self._calls_before -= 1
        if self._calls_before != -1:
            return
        self.reached.set()
        try:
            if not self._obeys:
                assert self._released.wait(MAX_LENGTH)
                return
            for _ in range(int(MAX_LENGTH / 0.005)):  # that is all that RunOptions tell
                if options.terminate:
                    raise RuntimeError('Exiting due to terminate flag being set to true.')
                self._released.wait(0.005)
            raise AssertionError('nobody has ended this call')
        finally:
            self.left.set()
