# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open a model with its graphs made ready for this machine."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import logging
import os
from pathlib import Path
from typing import Any

from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import is_device
from lfm_ros.prepare.cache import ready
from lfm_ros.prepare.manifest import read_manifest

_log = logging.getLogger(__name__)


def default_cache() -> Path:
    """Return the folder in which prepared graphs are kept, where no other one is given."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'lfm_ros'


def open_prepared(path: str | Path | ModelFolder, options: ModelOptions = ModelOptions(),
                  with_text: bool = True, cache_dir: Path | None = None,
                  make: bool = True) -> Model:
    """
    Open a model; its graphs are prepared when they are not yet, which takes seconds once.

    :param cache_dir: where prepared graphs are kept; None: :func:`default_cache`.
    :param make: whether to prepare them; without, they are used when they are there.
    :raises LfmError: as :class:`Model`.
    """
    folder = path if isinstance(path, ModelFolder) else \
        find_model(path, options.variant, options.image_variant,
                   is_device(options.providers))
    provider = options.providers[0] if options.providers else ''
    if list(options.providers) == [CPU] or is_device([provider]):
        options = replace(options, prepared=ready(
            folder, cache_dir or default_cache(), make=make, provider=provider,
            options=options.provider_options))
    if options.prepared and (change := describe_change(read_manifest(options.prepared))):
        _log.info(f'{folder.name} runs on {provider}: {change}')
    return Model(folder, options, with_text)


def describe_change(manifest: Mapping[str, Any]) -> str:
    """Return one sentence about what preparing did to the numbers of a model, or nothing."""
    half = manifest.get('change', {}).get('float16')
    if not half:
        return ''
    return ('its graph computes in float32, which GPUs do slowly, and was converted to float16; '
            f'log-probabilities changed by {half["mean"]:.3f} on average and by '
            f'{half["worst"]:.3f} at most on {half["tokens"]:.0f} tokens')
