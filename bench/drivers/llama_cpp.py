# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drive llama.cpp through its C interface, without the Python class around it."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from drivers import protocol
import llama_cpp
import numpy as np

BATCH = 512
FLASH = {'auto': -1, 'off': 0, 'on': 1}
CACHES = {'f16': llama_cpp.GGML_TYPE_F16, 'q8_0': llama_cpp.GGML_TYPE_Q8_0}


class LlamaCpp(protocol.Stepwise):
    """A model with one sequence; logits of the last token only."""

    def __init__(self, path: str, arguments: argparse.Namespace) -> None:
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = arguments.context
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = arguments.threads
        params.flash_attn_type = FLASH[arguments.flash]
        params.type_k = params.type_v = CACHES[arguments.kv]
        self._context: Any = model and llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise RuntimeError(f'llama.cpp does not open {path} with these options')
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._position = 0

    def read(self, ids: Sequence[int]) -> int:
        for start in range(0, len(ids), BATCH):
            self._decode(ids[start:start + BATCH], start + BATCH >= len(ids))
        row = llama_cpp.llama_get_logits_ith(self._context, -1)
        self._last = int(np.ctypeslib.as_array(row, (self._vocabulary,)).argmax())
        return self._last

    def _decode(self, ids: Sequence[int], last: bool) -> None:
        batch = self._batch
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = self._position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = last and i == len(ids) - 1
        batch.n_tokens = len(ids)
        self._position += len(ids)
        code = llama_cpp.llama_decode(self._context, batch)
        if code:
            raise RuntimeError(f'llama_decode gives {code}')


def main() -> None:
    """Open the model and obey."""
    parser = protocol.parser()
    parser.add_argument('--kv', choices=CACHES, default='f16', help='type of keys and values')
    parser.add_argument('--flash', choices=FLASH, default='auto', help='flash attention')
    arguments = parser.parse_args()
    results = protocol.take_output()
    protocol.serve(LlamaCpp(arguments.model, arguments), results, {
        'engine': 'llama.cpp', 'threads': arguments.threads, 'version': llama_cpp.__version__,
        'system': llama_cpp.llama_print_system_info().decode()})


if __name__ == '__main__':
    main()
