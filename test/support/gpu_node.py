# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A node on a machine with a GPU that fails, for the tests.

    gpu_node.py FAULT --ros-args ...

The fault is one of gpu_support, or ``none``. With ``(full 3)`` in the prompt the GPU has memory
for two more calls, and again when the next prompt comes; with ``(lost 3)`` it fails for good after
two more.
"""
from __future__ import annotations

import re
import sys

from gpu_support import FAULTS
from gpu_support import Gpu
from lfm_ros.node.main import main
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.request import Request
from lfm_ros.serving.running_requests import RunningRequests

_gpu = Gpu(sys.argv[1] if sys.argv[1] in FAULTS else '')
_begin = RunningRequests.begin


def begin(self: RunningRequests, request: Request, defaults: RequestDefaults) -> None:
    """Begin to answer as ever, and do to the GPU what the prompt asks for."""
    found = re.search(r'\(full (\d+)\)', request.query.prompt)
    _gpu.memory_for = int(found[1]) - 1 if found else -1
    if found := re.search(r'\(lost (\d+)\)', request.query.prompt):
        _gpu.lives_for = int(found[1]) - 1
    _begin(self, request, defaults)


if __name__ == '__main__':
    _gpu.install(setattr)
    RunningRequests.begin = begin  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
