# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JSON from outside and for the model: how deep it may nest, and how it is spaced."""
from __future__ import annotations

from typing import Any

# Where models put a blank in JSON, and where most do not. White space at will would let a model
# write blanks without end.
JSON_STYLE: Any = {'whitespace_flexible': False, 'item_separator': ', ?', 'key_separator': ': ?'}
# Levels of objects and arrays in a schema. The library that compiles it reads 128, and the schema
# of a tool gets some more around it.
MAX_NESTING = 100


def too_deep(value: Any, limit: int = MAX_NESTING) -> bool:
    """Return whether a value of JSON nests deeper than a limit."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for parent in level if isinstance(parent, (dict, list))
                 for child in (parent.values() if isinstance(parent, dict) else parent)]
        if not level:
            return False
    return True
