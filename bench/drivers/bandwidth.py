# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How fast this machine reads memory now: the limit of decoding, which reads all weights."""
from __future__ import annotations

import threading
import time

import numpy as np

_TOTAL = 512 << 20  # far more than caches hold
_PASSES = 7


class Bandwidth:
    """Arrays to read, one for each thread."""

    def __init__(self, threads: int) -> None:
        # numpy looks for a maximum faster than it adds, and gives up its lock for both.
        self._arrays = [np.ones(_TOTAL // threads // 4, np.float32) for _ in range(threads)]

    def measure(self) -> float:
        """Return the bytes read per second in the best of a few passes."""
        return max(self._pass() for _ in range(_PASSES))

    def _pass(self) -> float:
        threads = [threading.Thread(target=np.maximum.reduce, args=(array,))
                   for array in self._arrays]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(array.nbytes for array in self._arrays) / (time.perf_counter() - started)
