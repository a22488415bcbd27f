# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Edits of a graph, one per file."""
