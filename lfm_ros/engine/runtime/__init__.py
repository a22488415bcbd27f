# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run a graph: its signature, its state and where that lives, and runs of ONNX Runtime."""
