# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How deep JSON nests that comes from outside."""
from __future__ import annotations

from typing import Any

# Levels of objects and arrays in a schema. The library that compiles it reads 128, and the schema
# of a tool gets some more around it.
MAX_NESTING = 100


def too_deep(value: Any, limit: int = MAX_NESTING) -> bool:
    """Tell whether a value of JSON nests deeper than a limit."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for parent in level if isinstance(parent, (dict, list))
                 for child in (parent.values() if isinstance(parent, dict) else parent)]
        if not level:
            return False
    return True
