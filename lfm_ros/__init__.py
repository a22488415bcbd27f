# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Liquid AI LFM2 models on robots: the engine, the missions, the node and the command lfm."""
from pkgutil import extend_path

from lfm_ros.telemetry import switch_off

# The build puts the generated lfm_ros.msg, lfm_ros.srv and lfm_ros.action beside this file. When
# this file is imported from the source tree instead (pytest started in the repository), they are
# found in the lfm_ros that is installed.
__path__ = extend_path(__path__, __name__)

# Every module of this package comes after this line, so none imports ONNX Runtime before it.
switch_off()
