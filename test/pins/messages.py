# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages, services and the action, with the codes and reasons that they carry."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from internals import ERROR_CODES
from internals import FINISH_REASONS
from internals import lfm_status
from internals import ROOT
from internals import TOOL_CHOICES


def collect() -> dict[str, Any]:
    """Return fields and constants in their order, and what the code says beside them."""
    files = sorted(file for kind in ('msg', 'srv', 'action')
                   for file in ROOT.glob(f'{kind}/*.{kind}'))
    return {
        'interfaces': {f'{file.parent.name}/{file.stem}': _lines(file) for file in files},
        'error codes of the code': ERROR_CODES,
        'finish reasons of the code': list(FINISH_REASONS),
        'tool choices of the code': list(TOOL_CHOICES),
        'exit status of lfm by error code': {
            str(code): lfm_status(code) for code in ERROR_CODES.values()}}


def _lines(file: Path) -> list[str]:
    """Return the lines of an interface without comments; types, names, defaults, constants."""
    lines = (line.partition('#')[0].split() for line in
             file.read_text(encoding='utf-8').splitlines())
    return [' '.join(line) for line in lines if line]
