# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm replay`: its options, its work and what it prints."""
