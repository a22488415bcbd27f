# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Switch off the telemetry of ONNX Runtime: to be imported before it, where lfm_ros is not.

It reads the variable when it is imported; processes that are started inherit it.
"""
import os

os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
