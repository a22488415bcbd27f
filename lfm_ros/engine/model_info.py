# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `lfm inspect` and the service ~/model_info show of a model."""
from __future__ import annotations

from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.model_settings import read_model_type
from lfm_ros.engine.opening import ModelParts


def describe_model(folder: ModelFolder, options: ModelOptions,
                   parts: ModelParts) -> dict[str, Any]:
    """Return a description of an open model that can be written as JSON; sizes are in bytes."""
    sig, runner, images = parts.decoder.signature, parts.decoder.runner, None
    if parts.vision:
        images = parts.vision.processor.settings
    return {
        'name': folder.name, 'path': str(folder.root),
        'graph': str(folder.graph.relative_to(folder.root)),
        'model_type': read_model_type(folder),
        'dialect': sig.dialect, 'providers': parts.decoder.session.get_providers(),
        'context_length': runner.limit, 'vocabulary': runner.vocabulary,
        'conv_layers': len(sig.conv), 'attention_layers': len(sig.key_value) // 2,
        'conv_columns': sig.conv[0].shape[2] if sig.conv else 0,
        'state_dtypes': sorted({str(t.dtype) for t in sig.states}),
        'state_bytes_fixed': sum(t.row_bytes for t in sig.conv),
        'state_bytes_token': sum(t.row_bytes for t in sig.key_value),
        'shared_kv': runner.shared,
        'reads_in_chunks': runner.max_run_tokens > 1, 'position_ids': bool(sig.positions),
        'head_pruned': runner.head_pruned, 'prepared': options.prepared is not None,
        'prompt_lookup': options.prompt_lookup and runner.can_rollback,
        'answers_together': max(1, runner.max_batch_size),
        'vision': images is not None,
        'image_tokens': images.max_image_tokens if images else 0,
        'image_tiles': images.tile_limit if images else 0,
        'files': {str(p.relative_to(folder.root)): p.stat().st_size for p in folder.files},
        'fingerprint': folder.fingerprint,
    }
