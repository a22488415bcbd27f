# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long tests wait for what must come."""
import os

# How many times more than elsewhere it may be, where a machine is emulated.
PATIENCE = float(os.environ.get('LFM_ROS_TEST_PATIENCE', '1'))
WAIT = 60.0 * PATIENCE  # seconds after which what was waited for has failed
