# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Edit the graph of a model so that a robot can get more out of it."""

VERSION = 3  # of the edits; what was made with another one is made again
DEFAULT_LANES = 4    # missions that can be decoded in one run
