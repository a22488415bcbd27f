# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests: the queue, the thread that runs the model, all missions of a node and their memory."""
