# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the operating system says of this process."""
import os


def rss_bytes() -> int:
    """Return the resident memory of the process in bytes (Linux)."""
    with open('/proc/self/statm', encoding='ascii') as stream:
        return int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
