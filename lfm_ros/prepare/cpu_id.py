# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph that is optimised for a machine depends on."""
from __future__ import annotations

import hashlib
from pathlib import Path
import platform

import onnxruntime

_CPU = Path('/proc/cpuinfo')
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
