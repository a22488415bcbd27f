# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime reports to its maker, which is switched off here."""
from __future__ import annotations

import os
import sys

VARIABLE = 'ORT_DISABLE_TELEMETRY'
_RUNTIME = 'onnxruntime'


def switch_off() -> None:
    """
    Keep ONNX Runtime from reporting, in this process and in those that it starts.

    Its wheels for Linux from 1.29 on keep a number of the machine and a queue of events in the
    user's cache folder and send them to Microsoft. They read the variable once, when they are
    imported. Whoever wants the telemetry sets it to 0; an empty value counts as none.
    """
    wanted = os.environ.get(VARIABLE) or '1'
    os.environ[VARIABLE] = wanted
    # Imported before this package was: it has begun, and can only be told to report no more.
    stop = getattr(sys.modules.get(_RUNTIME), 'disable_telemetry_events', None)
    if stop and wanted == '1':
        stop()
