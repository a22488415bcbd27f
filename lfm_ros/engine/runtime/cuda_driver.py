# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime does not tell of a GPU: its free memory, and whether it is the host's."""
from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from lfm_ros.process import rss_bytes

# Libraries of the driver: unlike those of the toolkit their names have no version that changes.
_CUDA, _NVML = 'libcuda.so.1', 'libnvidia-ml.so.1'
_INTEGRATED = 18  # CU_DEVICE_ATTRIBUTE_INTEGRATED
_MEMINFO = Path('/proc/meminfo')


class _NvmlMemory(ctypes.Structure):
    """The struct nvmlMemory_t."""

    _fields_ = [('total', ctypes.c_ulonglong), ('free', ctypes.c_ulonglong),
                ('used', ctypes.c_ulonglong)]


@cache
def _load(library: str, start: str) -> Any:
    """Return a library that was started; None where there is none, or it finds no GPU."""
    try:
        found = ctypes.CDLL(library)
        arguments = (0,) if library == _CUDA else ()
        return found if getattr(found, start)(*arguments) == 0 else None
    except (OSError, AttributeError):
        return None


def is_integrated(number: int) -> bool:
    """Return whether a GPU shares the memory of the host, as that of a Jetson does."""
    cuda, device, found = _load(_CUDA, 'cuInit'), ctypes.c_int(), ctypes.c_int()
    if cuda is None or cuda.cuDeviceGet(ctypes.byref(device), number) != 0:
        return False
    failed = cuda.cuDeviceGetAttribute(ctypes.byref(found), _INTEGRATED, device)
    return failed == 0 and found.value != 0


def free_bytes(number: int) -> int | None:
    """
    Return the free memory of a GPU, which others use, too; None where that is not known.

    Where it is that of the host, what this process has there of its own counts as free.
    """
    if is_integrated(number):
        return _available_bytes() + rss_bytes()
    nvml, handle, memory = _load(_NVML, 'nvmlInit_v2'), ctypes.c_void_p(), _NvmlMemory()
    address = _bus_address(number)
    if nvml is None or not address or nvml.nvmlDeviceGetHandleByPciBusId_v2(
            address, ctypes.byref(handle)) != 0:
        return None
    failed = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return int(memory.free) if failed == 0 else None


def _bus_address(number: int) -> bytes:
    """Return where a GPU is on the bus; CUDA and NVML number them in different orders."""
    cuda, device, address = _load(_CUDA, 'cuInit'), ctypes.c_int(), ctypes.create_string_buffer(32)
    if cuda is None or cuda.cuDeviceGet(ctypes.byref(device), number) != 0 or \
            cuda.cuDeviceGetPCIBusId(address, len(address), device) != 0:
        return b''
    return address.value


def _available_bytes() -> int:
    for line in _MEMINFO.read_text().splitlines():
        name, _, value = line.partition(':')
        if name == 'MemAvailable':
            return int(value.split()[0]) * 1024
    return 0
