# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Text to tokens and back: tokenizer, chat template, tools."""
