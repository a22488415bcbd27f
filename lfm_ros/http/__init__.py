# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An endpoint with the interface of OpenAI, over an engine or a node."""
