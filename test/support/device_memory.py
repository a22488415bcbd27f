# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The memory of a device without a device: all of its code runs, on the CPU.

States are then in OrtValues that no test and no code of the host can look into, rows are moved by
the small graphs, and decode steps are made in lanes. Where there is a GPU, LFM_ROS_TEST_PROVIDER
names its provider and LFM_ROS_TEST_CACHE a folder: then they are on it, and fixtures are prepared
for it.
"""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
import os
from pathlib import Path
from typing import Any

from lfm_ros.engine import opening
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime import execution_provider
from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.runtime.device_buffers import DeviceMemory
from lfm_ros.prepare.open_model import open_prepared

VARIABLE = 'LFM_ROS_TEST_MEMORY'  # for processes that a test starts
HOST_KIND, DEVICE_KIND = 'host', 'device'
CPU = 'CPUExecutionProvider'
PROVIDER = os.environ.get('LFM_ROS_TEST_PROVIDER', CPU)
CACHE = os.environ.get('LFM_ROS_TEST_CACHE', '')  # of what is prepared for it


def is_device() -> bool:
    """Return whether models are opened in the memory of a device now."""
    return os.environ.get(VARIABLE) == DEVICE_KIND


def new_memory() -> DeviceMemory:
    """Return the memory of a device."""
    if PROVIDER == CPU:
        return DeviceMemory('cpu', 0, [CPU])
    memory = execution_provider.memory_of([PROVIDER], {})
    assert isinstance(memory, DeviceMemory), PROVIDER
    return memory


def open_model(path: Path, options: ModelOptions) -> Model:
    """Open a model in this kind of memory; what runs on a GPU is prepared for it."""
    if PROVIDER == CPU or not is_device():
        return Model(path, options)
    return open_prepared(path, replace(options, providers=[PROVIDER, CPU]), cache_dir=Path(CACHE))


def memory_of(_: Sequence[str], __: Any) -> Any:
    """Return where states are now, whatever the provider."""
    if is_device():
        memory = new_memory()
        memory.block = HOST.block  # the contexts of the fixtures are short
        return memory
    return HOST


def install(replace: Callable[[Any, str, Any], None]) -> None:
    """Have models opened there; ``replace`` is that of pytest or setattr."""
    replace(opening, 'memory_of', memory_of)
