# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How likely a model finds each of some answers."""
from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence

from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.state import State
from lfm_ros.engine.sampling import log_softmax
import numpy as np


def score_choices(model: Model, state: State, logits: np.ndarray, choices: Sequence[str],
                  cancel_token: CancelToken | None = None) -> Generator[None, None, list[float]]:
    """
    Return the natural logarithm of the probability of each choice as the whole answer.

    That is of its tokens, as the tokenizer splits it, and of an end token behind them.

    :param state: after the question; it is as before at the end.
    :param logits: float32 ``[vocabulary]`` there.
    :returns: yields after every run of the model.
    """
    runner, found = model.runner, []
    first, asked = log_softmax(logits), state.mark()
    ends = sorted(model.end_ids)
    for choice in choices:
        ids, row, total = model.tokenizer.encode(choice), first, 0.0
        try:
            for token in ids:
                total += float(row[token])
                row = log_softmax(runner.run(state, [token], cancel_token=cancel_token)[-1])
                yield
        finally:
            state.restore(asked)
        found.append(total + float(np.logaddexp.reduce(row[ends])))
    return found
