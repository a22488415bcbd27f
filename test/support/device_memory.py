# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The memory of a device without a device: all of its code runs, on the CPU.

States are then in OrtValues that no test and no code of the host can look into, rows are moved by
the small graphs, and decode steps are made in lanes.
"""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import os
from typing import Any

from lfm_ros.engine import opening
from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.runtime.device_buffers import DeviceMemory

VARIABLE = 'LFM_ROS_TEST_MEMORY'  # for processes that a test starts
HOST_KIND, DEVICE_KIND = 'host', 'device'


def is_device() -> bool:
    """Return whether models are opened in the memory of a device now."""
    return os.environ.get(VARIABLE) == DEVICE_KIND


def memory_of(_: Sequence[str], __: Any) -> Any:
    """Return where states are now, whatever the provider."""
    if is_device():
        memory = DeviceMemory('cpu', 0, ['CPUExecutionProvider'])
        memory.block = HOST.block  # the contexts of the fixtures are short
        return memory
    return HOST


def install(replace: Callable[[Any, str, Any], None]) -> None:
    """Have models opened there; ``replace`` is that of pytest or setattr."""
    replace(opening, 'memory_of', memory_of)
