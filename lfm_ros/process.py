# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the operating system says of this process."""
import ctypes
import os


def rss_bytes() -> int:
    """Return the resident memory of the process in bytes (Linux)."""
    with open('/proc/self/statm', encoding='ascii') as stream:
        return int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def return_large_memory() -> None:
    """
    Have glibc give large blocks back as soon as they are freed.

    It raises the size from which blocks get their own mapping as it sees them freed; states that
    come and go would then stay in a heap that only grows.
    """
    # M_MMAP_THRESHOLD (malloc.h); setting it by hand also keeps it from moving.
    getattr(ctypes.CDLL(None), 'mallopt', lambda *_: 0)(-3, 1 << 18)
