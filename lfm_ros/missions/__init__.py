# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The conversations: missions, their turns, the queue and the scheduler. No ROS."""
