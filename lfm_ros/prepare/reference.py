# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run a decoder graph, edited or not, on a text: plainly, with states that grow."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.session import open_session
from lfm_ros.engine.runtime.signature import BATCH
from lfm_ros.engine.runtime.signature import DTYPES
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.signature import LANE
from lfm_ros.engine.runtime.signature import PREFILL_ATTENTION
from lfm_ros.engine.runtime.signature import read_signature
import numpy as np
import onnxruntime

_TYPES = {**DTYPES, 'tensor(bool)': np.dtype(np.bool_)}
_ADDED = (LANE, BATCH, PREFILL_ATTENTION)

Embed = Callable[[Sequence[int]], np.ndarray]


class ReferenceSession:
    """
    A mission of its own on a graph.

    :param embed: gives float32 ``[1, S, hidden]`` for ids, where the graph takes embeddings;
        without, it is fed with noise.
    :ivar present: the outputs of the last run that keep the state.
    """

    def __init__(self, session: onnxruntime.InferenceSession, folder: ModelFolder,
                 embed: Embed | None = None) -> None:
        self.session = session
        self.inputs = {i.name: i for i in session.get_inputs()}
        plain = [i for n, i in self.inputs.items() if not n.startswith(_ADDED)]
        self.signature: GraphSignature = read_signature(
            plain, session.get_outputs(), folder.text_config, folder.genai)
        self._embed = embed or self._noise
        self._shapes = {t.name: t.shape for t in self.signature.states}
        self.restart()

    def restart(self) -> None:
        """Forget all that was read."""
        self.position = 0
        self.state = {t.name: np.zeros(t.shape, t.dtype) for t in self.signature.states}
        self.present: dict[str, np.ndarray] = {}

    def read(self, ids: Sequence[int], **more: Any) -> np.ndarray:
        """
        Read ids; return float32 logits ``[rows, vocabulary]``, as many rows as the graph gives.

        :param more: inputs to set to something else than nothing.
        """
        names = [self.signature.logits, *(t.output for t in self.signature.states)]
        found = self.session.run(names, {**self._feeds(ids), **self.state, **more})
        self.position += len(ids)
        self.present = dict(zip(names[1:], found[1:]))
        self.state = {t.name: self.present[t.output] for t in self.signature.states}
        logits: np.ndarray = found[0][0].astype(np.float32)
        return logits

    def _feeds(self, ids: Sequence[int]) -> dict[str, np.ndarray]:
        sig, count = self.signature, len(ids)
        end = self.position + count
        feeds: dict[str, np.ndarray] = {
            sig.ids: self._embed(ids) if sig.hidden else np.array([ids], sig.ids_dtype)}
        if sig.hidden:
            feeds[sig.ids] = feeds[sig.ids].astype(sig.ids_dtype)
        if sig.mask:
            feeds[sig.mask] = np.ones((1, end), sig.mask_dtype)
        if sig.positions:
            feeds[sig.positions] = np.arange(self.position, end, dtype=sig.positions_dtype)[None]
        if sig.keep:
            feeds[sig.keep] = np.full((1,) * sig.keep_rank, count, sig.keep_dtype)
        for name, item in self.inputs.items():
            if name.startswith(_ADDED):
                own = self._shapes.get(name.split('.', 2)[-1])
                feeds[name] = np.zeros(own or item.shape, _TYPES[item.type])
        return feeds

    def _noise(self, ids: Sequence[int]) -> np.ndarray:
        rows = [np.random.default_rng(i).standard_normal(self.signature.hidden) for i in ids]
        return np.array([rows], np.float32)


def open_reference(graph: Path, folder: ModelFolder, prepacked: bool = False,
                   embed: Embed | None = None, providers: Sequence[str] = (CPU,),
                   options: Mapping[str, str] | None = None) -> ReferenceSession:
    """Open a graph of a model to run it for reference."""
    def open_graph(reuse: bool) -> onnxruntime.InferenceSession:
        return open_session(graph, providers, reuse=reuse, prepacked=prepacked,
                            provider_options=options)

    try:
        session = open_graph(reuse=True)
        reference = ReferenceSession(session, folder, embed)
        sample(reference)
    except Exception as error:  # ONNX Runtime raises a different class for every status
        if 're-use buffer' not in str(error):
            raise
        session = open_graph(reuse=False)
        reference = ReferenceSession(session, folder, embed)
    reference.restart()
    return reference


def open_embed(folder: ModelFolder) -> Embed | None:
    """Return what gives the embeddings of ids; None for a model that takes ids."""
    if folder.embedding is None:
        return None
    session = open_session(folder.embedding)

    def embed(ids: Sequence[int]) -> np.ndarray:
        feeds = {}
        for item in session.get_inputs():
            if item.name == 'input_ids':
                feeds[item.name] = np.array([ids], _TYPES[item.type])
            else:
                feeds[item.name] = np.zeros((0, *item.shape[1:]), _TYPES[item.type])
        rows: np.ndarray = session.run(None, feeds)[0]
        return rows
    return embed


def sample(reference: ReferenceSession) -> np.ndarray:
    """Return logits ``[2, vocabulary]`` after a few ids that are read in two runs."""
    reference.restart()
    first = reference.read([3, 4, 5])[-1]
    return np.stack([first, reference.read([6])[-1]])
