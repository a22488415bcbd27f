# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Names in a folder of missions."""
from __future__ import annotations

LOG_FILE = 'missions.db'  # without a key; see StorageCipher.named
STATES = 'states'
