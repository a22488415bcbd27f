# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long tests wait for what must come."""
import os

# Seconds after which what was waited for has failed; more where a machine is emulated.
WAIT = 60.0 * float(os.environ.get('LFM_ROS_TEST_PATIENCE', '1'))
