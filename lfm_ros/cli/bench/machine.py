# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What machine the figures of `lfm bench` are from."""
from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import platform
from typing import Any
import xml.etree.ElementTree as ElementTree

from lfm_ros import cpu
import onnxruntime

PACKAGE = 'lfm_ros'


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


def version() -> str:
    """Return the version of this package; empty where nothing tells it."""
    source = Path(__file__).resolve().parents[3] / 'package.xml'
    try:
        if source.is_file():  # this file is run from the source tree
            return ElementTree.parse(source).getroot().findtext('version') or ''
        return metadata.version(PACKAGE)
    except (OSError, ElementTree.ParseError, metadata.PackageNotFoundError):
        return ''
