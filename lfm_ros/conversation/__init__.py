# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Missions: their transcript, the state derived from it, and how messages become tokens."""
