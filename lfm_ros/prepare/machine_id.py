# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph that is optimised for a machine depends on."""
from __future__ import annotations

from contextlib import suppress
import hashlib
from pathlib import Path
import platform

import onnxruntime

_CPU = Path('/proc/cpuinfo')
_GPUS = Path('/proc/driver/nvidia/gpus')
_BOARD = Path('/proc/device-tree/model')
_TELLING = ('model name', 'flags', 'Features', 'CPU implementer', 'CPU part', 'isa')


def machine() -> dict[str, str]:
    """Return the runtime and the processor; the latter by a hash of what it can do."""
    try:
        lines = _CPU.read_text(errors='replace').splitlines()
    except OSError:
        lines = []
    telling = sorted({' '.join(line.split()) for line in lines
                      if line.split(':')[0].strip() in _TELLING})
    cpu = hashlib.sha256('\n'.join([platform.processor(), *telling]).encode()).hexdigest()
    return {'onnxruntime': onnxruntime.__version__, 'arch': platform.machine(), 'cpu': cpu[:16]}


def device_names() -> list[str]:
    """Return the names of the NVIDIA GPUs, or of the board where that is all that is known."""
    found = []
    for path in sorted(_GPUS.glob('*/information')):
        with suppress(OSError):
            found += [line.partition(':')[2].strip() for line in path.read_text().splitlines()
                      if line.startswith('Model:')]
    if not found:
        with suppress(OSError):
            found.append(_BOARD.read_bytes().decode(errors='replace').strip('\0'))
    return found
