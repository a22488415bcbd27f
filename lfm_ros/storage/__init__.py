# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Missions on disk: the log, checkpoints, archives, encryption and recovery."""
