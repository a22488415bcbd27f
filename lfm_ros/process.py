# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Memory and limits of this process, as the operating system reports them."""
from __future__ import annotations

from contextlib import suppress
import ctypes
import os
from pathlib import Path
import resource
import sys

from lfm_ros.control_groups import memory_left
from lfm_ros.control_groups import ROOT


def rss_bytes() -> int:
    """Return the resident memory of the process in bytes (Linux)."""
    with open('/proc/self/statm', encoding='ascii') as stream:
        return int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def anonymous_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes without that of files; 0: it has ended."""
    with suppress(OSError), open(f'/proc/{pid}/statm', encoding='ascii') as stream:
        _, resident, shared, *_ = map(int, stream.read().split())
        return (resident - shared) * os.sysconf('SC_PAGE_SIZE')
    return 0


def available_bytes(root: Path = ROOT) -> int | None:
    """
    Return how many bytes this process could still take without swapping; None: it is not known.

    That is MemAvailable of the machine, or less where the control groups of this process (a
    container, a service of systemd) have a limit. What it has mapped of files counts as taken.
    """
    try:
        text = (root / 'proc/meminfo').read_text()
        found = 1024 * int(text.partition('MemAvailable:')[2].split()[0])
        mapped = int((root / 'proc/self/statm').read_text().split()[2])
    except (OSError, ValueError, IndexError):
        return None
    left = memory_left(root)
    return max(0, (found if left is None else min(found, left))
               - mapped * os.sysconf('SC_PAGE_SIZE'))


def peak_bytes() -> int:
    """Return the highest resident memory since :func:`forget_peak`."""
    with open('/proc/self/status', encoding='ascii') as stream:
        return 1024 * int(stream.read().partition('VmHWM:')[2].split()[0])


def forget_peak() -> None:
    """Begin anew to look for the highest resident memory, where the kernel allows it."""
    with suppress(OSError), open('/proc/self/clear_refs', 'w', encoding='ascii') as stream:
        stream.write('5')


def return_freed_memory() -> None:
    """Have glibc give back what it keeps of freed memory, where it is the C library."""
    getattr(ctypes.CDLL(None), 'malloc_trim', lambda _: 0)(0)


def return_large_memory() -> None:
    """
    Have glibc give large blocks back as soon as they are freed.

    It raises the size from which blocks get their own mapping as it sees them freed; states that
    come and go would then stay in a heap that only grows.
    """
    # M_MMAP_THRESHOLD (malloc.h); setting it by hand also keeps it from moving.
    getattr(ctypes.CDLL(None), 'mallopt', lambda *_: 0)(-3, 1 << 18)


def forbid_core_files() -> None:
    """
    Have the kernel write no core file of this process, nor of those that it starts later.

    Only the soft limit changes, so ``prlimit --core=unlimited --pid PID`` brings them back, and
    what looks at a running process goes on: PR_SET_DUMPABLE would also take py-spy, gdb and the
    measuring of memory from the account that started it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # One byte, not none: whatever the limit is, a program named in core_pattern (apport,
    # systemd-coredump) is given the core, but for this value (fs/coredump.c of Linux).
    if hard == resource.RLIM_INFINITY or hard >= 1:
        resource.setrlimit(resource.RLIMIT_CORE, (1, hard))


def same_modules() -> dict[str, str]:
    """
    Return the environment in which another Python finds the modules of this one, and no others.

    ``-m`` alone would look into the folder in which the command is run before all others.
    """
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return {**os.environ, 'PYTHONPATH': path, 'PYTHONSAFEPATH': '1'}
