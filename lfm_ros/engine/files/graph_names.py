# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Names of the graphs that :mod:`lfm_ros.prepare` writes."""
from __future__ import annotations

DECODER_GRAPH = 'model.onnx'
EMBEDDING_GRAPH = 'embedding.onnx'
VISION_GRAPH = 'vision.onnx'
# A decoder for prompts; a model may come with one beside its decoder, under the same name.
PREFILL_GRAPH = 'prefill.onnx'
