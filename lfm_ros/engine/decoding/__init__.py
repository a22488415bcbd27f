# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Choose tokens: sampling, prompt lookup, one answer token by token."""
