# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model: open an export, run tokens against a state, sample, template. No ROS."""
