# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a recording ends too early."""


class Damaged(Exception):
    """A file can be read no further; the message says why."""
