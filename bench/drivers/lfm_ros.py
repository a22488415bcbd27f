# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drive the engine of lfm_ros as a turn of a mission does."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import json

from drivers import protocol
from lfm_ros.engine.decoding.generation import Generation
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import Sampling
from lfm_ros.prepare.open_model import open_prepared
import onnxruntime

GREEDY = Sampling(temperature=0, min_p=0, repetition_penalty=1.0, seed=1)
# So that the search for a stop text has its part in the time.
LIMITS = Limits(1 << 30, ['no such text'])


class LfmRos:
    """A model with one state; a new answer begins with each prompt."""

    def __init__(self, model: Model) -> None:
        self._model = model
        model.end_ids = frozenset()  # every answer gets the length asked for
        model.warm_up()  # as the node does

    def clear(self) -> None:
        self._state = self._model.new_state()
        self._context: list[int] = []
        self._answer: Generation | None = None

    def read(self, ids: Sequence[int]) -> int:
        self._context += ids
        for chunk in self._model.chunks(ids):
            logits = self._model.runner.run(self._state, chunk)[-1]
        self._answer = Generation(self._model, self._state, GREEDY, LIMITS)
        self._steps: Iterator[str] = self._answer.steps(logits, self._context)
        next(self._steps)
        return self._answer.ids[-1]

    def write(self, tokens: int) -> list[int]:
        assert self._answer, 'a prompt comes first'
        for _ in range(tokens):
            next(self._steps)
        return self._answer.ids[-tokens:]

    def read_more(self, ids: Sequence[int]) -> int:
        assert self._answer, 'a prompt comes first'
        self._context += self._answer.ids[:-1]
        return self.read([self._answer.ids[-1], *ids])


def main() -> None:
    """Open the model and obey."""
    parser = protocol.parser()
    parser.add_argument('--options', type=json.loads, default={}, help='ModelOptions in JSON')
    arguments = parser.parse_args()
    results = protocol.take_output()
    options = {'threads': arguments.threads, 'context_length': arguments.context,
               # Random weights end in loops; guesses have a benchmark of their own.
               'prompt_lookup': False, **arguments.options}
    model = open_prepared(arguments.model, ModelOptions(**options))
    protocol.serve(LfmRos(model), results, {'engine': 'lfm_ros', 'threads': arguments.threads,
                                            'onnxruntime': onnxruntime.__version__})


if __name__ == '__main__':
    main()
