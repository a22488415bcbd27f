# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which files lfm_ros is built from: setup.py builds from them, ros_venv.py watches them."""
from pathlib import Path
from typing import Iterator

SOURCES = (
    'CMakeLists.txt', 'LICENSE', 'entry_points.txt', 'package.xml', 'pyproject.toml', 'setup.py',
    'tools/package_sources.py', 'action', 'cmake', 'config', 'examples', 'launch', 'lfm_ros',
    'msg', 'srv')


def source_files(root: Path) -> Iterator[Path]:
    """Yield them in a fixed order, relative to the folder of the repository."""
    for name in SOURCES:
        path = root / name
        for file in [path] if path.is_file() else sorted(path.rglob('*')):
            if file.is_file() and '__pycache__' not in file.parts:
                yield file.relative_to(root)
