# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The executable `lfm_openai`: the endpoint in front of a running lfm node."""
