# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph that is optimised for a machine depends on."""
from __future__ import annotations

from contextlib import suppress
from pathlib import Path
import platform

from lfm_ros import cpu
import onnxruntime

_GPUS = Path('/proc/driver/nvidia/gpus')


def machine() -> dict[str, str]:
    """Return the runtime and the processor; the latter by a hash of what it can do."""
    return {'onnxruntime': onnxruntime.__version__, 'arch': platform.machine(),
            'cpu': cpu.key()}


def gpu_names() -> list[str]:
    """Return the names of the NVIDIA GPUs that the driver tells."""
    found = []
    for path in sorted(_GPUS.glob('*/information')):
        with suppress(OSError):
            found += [line.partition(':')[2].strip() for line in path.read_text().splitlines()
                      if line.startswith('Model:')]
    return found


def device_names() -> list[str]:
    """Return the names of the NVIDIA GPUs, or of the board where that is all that is known."""
    return gpu_names() or [name for name in [cpu.board()] if name]
