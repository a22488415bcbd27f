# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open a model with its graphs made ready for this machine."""
from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path

from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.session import CPU
from lfm_ros.prepare.cache import ready


def default_cache() -> Path:
    """Return the folder in which prepared graphs are kept, where no other one is given."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'lfm_ros'


def open_prepared(path: str | Path, options: ModelOptions = ModelOptions(),
                  with_text: bool = True, cache_dir: Path | None = None,
                  make: bool = True) -> Model:
    """
    Open a model; its graphs are prepared when they are not yet, which takes seconds once.

    :param cache_dir: where prepared graphs are kept; None: :func:`default_cache`.
    :param make: whether to prepare them; without, they are used when they are there.
    :raises LfmError: as :class:`Model`.
    """
    folder = find_model(path, options.variant, options.image_variant)
    if list(options.providers) == [CPU]:
        options = replace(options, prepared=ready(folder, cache_dir or default_cache(), make=make))
    return Model(folder, options, with_text)
