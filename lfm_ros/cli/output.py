# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every verb prints in the same way."""
from __future__ import annotations

import json
from typing import Any


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)
