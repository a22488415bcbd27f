# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open hostile models in a process that may hang, crash or take all memory instead of the test."""
from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from support import environment
from support import WAIT

# What stands in a file of a terminal or a log must not be in a message.
OPEN = """
import logging, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.errors import LfmError
{before}
for path in sys.argv[2:]:
    try:
        Model(path, ModelOptions(threads=1))
        print('OPEN', flush=True)
    except LfmError as error:
        assert error.message.isprintable() and len(error.message) <= 1000, error.message
        print(error.code.name, error.message, flush=True)
"""
MEMORY = 8 << 30  # of addresses; ONNX Runtime reserves some GB


def open_all(paths: list[Path], before: str = '', memory: int = MEMORY,
             timeout: float = WAIT) -> list[str]:
    """
    Open models one after the other in another process.

    :param before: Python that is run there first.
    :returns: for each ``OPEN``, or name of the code and message of its refusal.
    """
    done = run(paths, before, memory, timeout)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-3000:])
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths), lines
    return lines


def run(paths: list[Path], before: str = '', memory: int = MEMORY,
        timeout: float = WAIT) -> subprocess.CompletedProcess[str]:
    """Open models likewise, and return what became of the process."""
    return subprocess.run(
        [sys.executable, '-c', OPEN.format(before=before), str(memory), *map(str, paths)],
        env=environment(), capture_output=True, text=True, timeout=timeout)
