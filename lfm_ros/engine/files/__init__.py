# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a model folder, which strangers may have made."""
