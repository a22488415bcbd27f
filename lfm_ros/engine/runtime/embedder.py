# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings of token ids, with the features of images in place of image tokens."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.runtime.signature import DTYPES
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import onnxruntime

_FEATURES = 'image_features'


class Embedder:
    """
    The part of a vision-language model between token ids and its decoder.

    Two exports are in the field: a plain table (``input_ids`` alone), and one of
    onnxruntime-genai that also takes ``image_features`` and puts them in by itself.

    :param session: of that graph.
    :param hidden: numbers of an embedding, as the decoder takes them; ``dtype`` their type.
    :param image_id: id of the tokens that features replace.
    :param runs: makes the runs.
    :raises LfmError: MODEL_FOREIGN, when it does not fit the decoder.
    """

    def __init__(self, session: onnxruntime.InferenceSession, hidden: int, dtype: np.dtype,
                 image_id: int, runs: OrtRuns | None = None) -> None:
        self._session = session
        self._hidden = hidden
        self._dtype = dtype
        self.image_id = image_id
        self._ort_runs = runs or OrtRuns()
        inputs = {item.name: item for item in session.get_inputs()}
        features = inputs.pop(_FEATURES, None)
        self._takes = DTYPES.get(features.type, np.dtype(np.float32)) if features else None
        if list(inputs) != ['input_ids']:
            raise self._foreign(f'takes {", ".join(inputs)} instead of input_ids')
        self._ids_dtype = DTYPES.get(inputs['input_ids'].type, np.dtype(np.int64))
        self._output = session.get_outputs()[0].name
        try:
            found = self.rows([1, 2], None)
        except LfmError as error:
            if error.code != ErrorCode.MODEL_RUN_FAILED:
                raise
            raise self._foreign(f'does not run ({error.message[:200]})') from error
        if found.shape != (2, hidden):
            raise self._foreign(f'gives {found.shape[-1]} numbers, the decoder takes {hidden}')

    def rows(self, ids: Sequence[int], features: np.ndarray | None,
             cancel_token: CancelToken | None = None) -> np.ndarray:
        """
        Return the embeddings of ids.

        :param features: float32 ``[k, hidden]`` for the k image tokens among the ids, in their
            order; None: these are ids like others.
        :returns: ``[len(ids), hidden]`` in the type that the decoder takes.
        """
        array = np.asarray(ids, self._ids_dtype)[None]
        feeds: dict[str, Any] = {'input_ids': array}
        if self._takes is not None:
            given = features
            if given is None:
                given = np.zeros((int((array == self.image_id).sum()), self._hidden), np.float32)
            feeds[_FEATURES] = given.astype(self._takes)
        found = self._ort_runs.run(
            lambda options: self._session.run([self._output], feeds, options), cancel_token)
        rows = found[0][0].astype(self._dtype, copy=False)
        if features is not None and self._takes is None:
            rows[array[0] == self.image_id] = features
        return rows

    @staticmethod
    def _foreign(why: str) -> LfmError:
        return LfmError(ErrorCode.MODEL_FOREIGN, f'the embedding graph {why}: take all graphs of '
                        'the model from the same export')
