# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images: decode, resize, cut into tiles, encode."""
