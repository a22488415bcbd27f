# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What machine the figures of `lfm bench` are from."""
from __future__ import annotations

import os
import platform
from typing import Any

from lfm_ros import cpu
from lfm_ros.cli.version import PACKAGE
from lfm_ros.cli.version import version
import onnxruntime


def machine(threads: int) -> dict[str, Any]:
    """
    Return what identifies this machine and what runs on it.

    :param threads: as given to ONNX Runtime; 0: one per core.
    """
    cores = len(os.sched_getaffinity(0))
    return {
        'cpu': cpu.describe(), 'board': cpu.board(), 'cores': cores,
        'threads': threads or cores,
        'ram_bytes': os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'),
        'load_average': os.getloadavg()[0], 'system': platform.platform(),
        'python': platform.python_version(), 'onnxruntime': onnxruntime.__version__,
        PACKAGE: version()}
