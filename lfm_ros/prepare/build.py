# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make an entry of the cache."""
from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.files.graph_names import DECODER_GRAPH
from lfm_ros.engine.files.graph_names import PREFILL_GRAPH
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import with_options
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.device import make_for_device
from lfm_ros.prepare.files import sync
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import load
from lfm_ros.prepare.manifest import write_manifest
from lfm_ros.prepare.optimize import remove
from lfm_ros.prepare.optimize import save_optimized
from lfm_ros.prepare.passes.prefill import adds_up_with_signs
from lfm_ros.prepare.passes.prefill import with_signs
from lfm_ros.prepare.pipeline import edit_losslessly
from lfm_ros.prepare.pipeline import read_note
from lfm_ros.prepare.pipeline import write_note
from lfm_ros.prepare.reference import open_reference
from lfm_ros.prepare.reference import sample
from lfm_ros.prepare.weights import external_files
import numpy as np

_log = logging.getLogger(__name__)
_SPARE = 64 << 20  # bytes


def needed_bytes(folder: ModelFolder, others: dict[str, Path]) -> int:
    """Return the bytes of disk that an entry takes while it is made."""
    graphs = [folder.graph, *others.values()]
    size = sum(p.stat().st_size for g in graphs for p in
               (g, *(g.parent / f for f in external_files(load(g)))) if p.is_file())
    return 5 * size // 2 + _SPARE  # kernels want most weights in a second layout


def make_entry(folder: ModelFolder, others: dict[str, Path], target: Path,
               what: dict[str, Any]) -> None:
    """
    Write the graphs of a model, edited and optimised, and their manifest.

    :param others: graphs beside the decoder, by the name that they get.
    :param what: the manifest.
    :raises Exception: what ONNX Runtime raises.
    """
    providers: list[Any] = [CPU]
    if 'provider' in what:
        change = make_for_device(folder, target, what['provider'], what['options'])
        what = {**what, 'change': change}
        providers = with_options([what['provider'], CPU], what['options'])
        # A second graph for prefill is for the CPU.
        others = {name: path for name, path in others.items() if name != PREFILL_GRAPH}
    else:
        decoder = load(folder.graph)
        if not read_note(decoder):
            write_note(decoder, edit_losslessly(decoder, what['slots']), what['slots'])
        _make_proved(folder, folder.graph, decoder, target / DECODER_GRAPH)
    for name, graph in others.items():
        try:
            if name == PREFILL_GRAPH:
                second = load(graph)
                if adds_up_with_signs():
                    with_signs(second)
                _make_proved(folder, graph, second, target / name)
            else:
                save_optimized(load(graph), graph.parent, target / name, prepacked=False,
                               providers=providers)
        except Exception as error:  # as above; this one is opened as it is then
            _log.debug(f'{graph} cannot be prepared: {error}')
            remove([target / name, target / f'{name}.data'])
    write_manifest(target, what)
    for file in target.iterdir():
        sync(file)
    sync(target)


def _make_proved(folder: ModelFolder, source: Path, graph: Graph, target: Path) -> None:
    """
    Write a graph of the decoder, and prove that its logits are the same.

    :raises ValueError: when it does not.
    """
    expected, reuse = _expected(folder, source, graph, target)
    gc.collect()  # or there would be two models in memory
    save_optimized(graph, source.parent, target, reuse)
    try:
        found = sample(open_reference(target, folder, prepacked=True))
    except LfmError as error:
        raise ValueError(error.message) from error
    if not np.allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max()):
        raise ValueError('the prepared graph gives other results')


def _expected(folder: ModelFolder, source: Path, graph: Graph,
              target: Path) -> tuple[np.ndarray, bool]:
    """
    Return the logits before optimisation, and whether the graph can reuse memory in a run.

    Where ONNX Runtime is too old for the original graph, the edited one is run.
    """
    try:
        reference = open_reference(source, folder)
    except LfmError as error:
        if error.code != ErrorCode.RUNTIME_TOO_OLD:
            raise
        plain = target.with_name(f'plain-{target.name}')
        save_optimized(graph, source.parent, plain, prepacked=False)
        reference = open_reference(plain, folder, prepacked=True)
        remove([plain, Path(f'{plain}.data')])
    return sample(reference), reference.session.get_session_options().enable_mem_reuse
