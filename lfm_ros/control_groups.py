# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a container or a service manager lets this process have, by its control groups (Linux)."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path('/')  # of the file system with /proc and /sys


def memory_left(root: Path = ROOT) -> int | None:
    """Return how many bytes are left of the tightest memory limit; None: there is none."""
    found = []
    for folder in _groups('memory', root):
        for limit, used in (('memory.max', 'memory.current'),
                            ('memory.limit_in_bytes', 'memory.usage_in_bytes')):
            with suppress(OSError, ValueError):  # 'max' is no number
                total = int((folder / limit).read_text())
                found.append(total - int((folder / used).read_text()) + _cached(folder))
    return min(found, default=None)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return how many CPUs may be busy at a time by the tightest quota; None: there is none."""
    found = []
    for folder in _groups('cpu', root):
        with suppress(OSError, ValueError):
            quota, period = map(int, (folder / 'cpu.max').read_text().split())
            found.append(quota / period)
        with suppress(OSError, ValueError):
            quota, period = (int((folder / f'cpu.cfs_{name}_us').read_text())
                             for name in ('quota', 'period'))
            if quota > 0:
                found.append(quota / period)
    return min(found, default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders of the groups of this process for a controller, and of those above."""
    try:
        lines = (root / 'proc/self/cgroup').read_text().splitlines()
    except OSError:
        return
    for controllers, path in (line.split(':', 2)[1:] for line in lines):
        if controllers and controller not in controllers.split(','):
            continue
        top = root / 'sys/fs/cgroup' / (controller if controllers else '')  # versions 1 and 2
        group = top / path.lstrip('/')  # in a container it may be that of the host, which is not
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _cached(folder: Path) -> int:
    """Return the bytes of files in the memory of a group, which the kernel would give up."""
    found = 0
    with suppress(OSError, ValueError):
        for line in (folder / 'memory.stat').read_text().splitlines():
            name, _, count = line.partition(' ')
            if name in ('inactive_file', 'active_file'):
                found += int(count)
    return found
