# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes of the chunks in which ids are read: logits depend slightly on them."""
from __future__ import annotations

BATCHED = -1  # instead of the size 1: the token was one row of a batch of several missions
