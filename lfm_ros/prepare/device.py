# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make the graphs of a model ready for a provider that computes on a device."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import gc
import logging
from pathlib import Path
from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.files.graph_names import DECODER_GRAPH
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import with_options
from lfm_ros.engine.runtime.ort_errors import ran_out_of_memory
from lfm_ros.engine.runtime.probes import NEAR
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
from lfm_ros.prepare.accuracy import compare
from lfm_ros.prepare.accuracy import Text
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import load
from lfm_ros.prepare.optimize import remove
from lfm_ros.prepare.optimize import save_optimized
from lfm_ros.prepare.passes.float16 import write_float16
from lfm_ros.prepare.pipeline import edit_losslessly
from lfm_ros.prepare.pipeline import read_note
from lfm_ros.prepare.pipeline import write_note
from lfm_ros.prepare.reference import open_reference
from lfm_ros.prepare.reference import sample
import numpy as np
from onnx import TensorProto

_log = logging.getLogger(__name__)

NO_LANES = 1  # on a device lanes need no edit


def make_for_device(folder: ModelFolder, target: Path, provider: str,
                    options: Mapping[str, str]) -> dict[str, Any]:
    """
    Write the decoder of a model, edited and optimised as a provider runs it.

    :returns: what it did to the numbers: ``float16``, as :func:`compare` gives it, where the
        graph computed in float32; empty where nothing was changed.
    :raises Exception: what ONNX Runtime raises; :class:`ValueError`, when the result is wrong.
    """
    providers = with_options([provider, CPU], options)
    source, note = folder.graph, {}
    half = target / 'float16.onnx'
    before, by_cpu = _logits(folder, [CPU]), True
    if before is None:  # attention with norms of its own, say, which no kernel of the CPU has
        before, by_cpu = _logits(folder, [provider, CPU], options), False
    gc.collect()  # or there would be two models in memory
    halved = computes_in_float32(load(source))
    if halved:
        write_float16(source, half)
        source = half
    decoder = load(source)
    if not read_note(decoder):
        write_note(decoder, edit_losslessly(decoder, NO_LANES), NO_LANES)
    save_optimized(decoder, source.parent, target / DECODER_GRAPH, prepacked=False,
                   providers=providers)
    found = sample(open_reference(target / DECODER_GRAPH, folder, providers=[provider, CPU],
                                  options=options))
    if not np.isfinite(found).all() or before is not None and \
            not np.linalg.norm(found - before) <= NEAR * np.linalg.norm(before):
        raise ValueError('the prepared graph gives other results')
    if halved and by_cpu:
        note['float16'] = compare(folder, folder.graph, target / DECODER_GRAPH,
                                  Text.read(folder), [provider, CPU], options)
    remove([half, Path(f'{half}.data')])
    return note


def computes_in_float32(graph: Graph) -> bool:
    """Return whether the attention of a graph computes in float32."""
    return any(name.startswith('past_key_values')
               and item.type.tensor_type.elem_type == TensorProto.FLOAT
               for name, item in graph.inputs.items())


def _logits(folder: ModelFolder, providers: Sequence[str],
            options: Mapping[str, str] | None = None) -> np.ndarray | None:
    """Return logits of the graph as it is; None where these providers cannot run it."""
    try:
        return sample(open_reference(folder.graph, folder, providers=providers, options=options))
    except LfmError as error:
        if error.code not in (ErrorCode.RUNTIME_TOO_OLD, ErrorCode.PROVIDER_UNAVAILABLE):
            raise
    except Exception as error:  # ONNX Runtime raises a different class for every status
        if ran_out_of_memory(str(error)):
            raise
        _log.info(f'{folder.name} does not run on {providers[0]}: {quote(error)}')
    return None
