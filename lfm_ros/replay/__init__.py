# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded missions: bags of rosbag2, read without ROS and asked again."""
