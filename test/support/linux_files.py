# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The files in which Linux tells what a process may have, made up."""
from __future__ import annotations

import os
from pathlib import Path

MB = 1 << 20
PAGE = os.sysconf('SC_PAGE_SIZE')


def linux(root: Path, groups: str, files: dict[str, str]) -> Path:
    """
    Make a root with 1000 MB available, of which a process has mapped 100 MB.

    :param groups: what /proc/self/cgroup says.
    :param files: of control groups, by their paths below /sys/fs/cgroup.
    """
    found = {'proc/meminfo': f'MemTotal: 1 kB\nMemAvailable:  {1000 * 1024} kB\n',
             'proc/self/statm': f'9 9 {100 * MB // PAGE} 0 0 0 0\n', 'proc/self/cgroup': groups,
             **{f'sys/fs/cgroup/{name}': text for name, text in files.items()}}
    for name, text in found.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
