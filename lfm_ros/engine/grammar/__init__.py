# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Structured output: what an answer must match, compiled and followed in another process."""
