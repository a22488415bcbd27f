# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The command `ros2 lfm`: talk to a running node.

`entry_points.txt` tells ros2cli of it; nothing else imports these modules.
"""
