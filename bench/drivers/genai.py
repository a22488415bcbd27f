# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drive onnxruntime-genai."""
from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path

from drivers import protocol
import lfm_ros  # noqa: F401
import numpy as np
import onnxruntime_genai


class Genai:
    """A model with one generator, which is made anew for each cache."""

    def __init__(self, folder: str, threads: int, context: int) -> None:
        config = onnxruntime_genai.Config(folder)
        written = json.loads((Path(folder) / 'genai_config.json').read_text())
        config.overlay(json.dumps({'model': {
            # Every answer gets the length asked for: only the last id may end it.
            'eos_token_id': written['model']['vocab_size'] - 1,
            'decoder': {'session_options': {'intra_op_num_threads': threads}}}}))
        self._model = onnxruntime_genai.Model(config)
        self._params = onnxruntime_genai.GeneratorParams(self._model)
        self._params.set_search_options(max_length=context, do_sample=False)

    def clear(self) -> None:
        self._generator = None  # the old one goes before the new one comes
        self._generator = onnxruntime_genai.Generator(self._model, self._params)

    def read(self, ids: Sequence[int]) -> int:
        self._generator.append_tokens(np.array(ids, np.int32))
        # Only chooses: append_tokens ran the model. The later ones run it for the last token.
        return self.write(1)[0]

    def write(self, tokens: int) -> list[int]:
        chosen = []
        for _ in range(tokens):
            self._generator.generate_next_token()
            chosen.append(int(self._generator.get_next_tokens()[0]))
        if self._generator.is_done():
            raise RuntimeError('the answer ended: raise the context or take other ids')
        return chosen

    def read_more(self, ids: Sequence[int]) -> int:
        return self.read(ids)  # it reads the last token by itself


def main() -> None:
    """Open the model and obey."""
    arguments = protocol.parser().parse_args()
    results = protocol.take_output()
    engine = Genai(arguments.model, arguments.threads, arguments.context)
    protocol.serve(engine, results, {'engine': 'onnxruntime-genai', 'threads': arguments.threads,
                                     'version': onnxruntime_genai.__version__})


if __name__ == '__main__':
    main()
