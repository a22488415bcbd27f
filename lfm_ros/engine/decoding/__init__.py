# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decode: limits, choices, prompt lookup, one answer token by token."""
