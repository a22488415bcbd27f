# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the package bondpy, which the ROS 2 wheels lack."""
