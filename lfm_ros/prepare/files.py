# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files that must be there after a power cut."""
from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Let what was written reach the disk, or a power cut would leave files of zeros."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
