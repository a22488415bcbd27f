# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write one answer, token by token."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
import time

from lfm_ros.engine.model import Model
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.sampling import Sampler
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.state import State
from lfm_ros.engine.tokenizer import StopTexts
import numpy as np

STOP = 'stop'        # the model ended its answer, or a stop text was reached
LENGTH = 'length'    # max_tokens was reached
CONTEXT = 'context'  # the context is full


@dataclass(frozen=True)
class Limits:
    """
    When an answer ends, beside the model's own end tokens.

    :param max_tokens: longest answer in tokens.
    :param stop: texts before which it ends.
    :param room: tokens of the context that must stay free behind the answer.
    """

    max_tokens: int = 256
    stop: Sequence[str] = ()
    room: int = 0


class Generation:
    """
    One answer while it is written.

    :ivar ids: its tokens, the end token included. All but the last are read into the state.
    :ivar stopped_by_text: whether it ended before a stop text, which its tokens still hold.
    :ivar tokens_per_second: speed after the first token; 0 while there is one at most.
    """

    def __init__(self, model: Model, state: State, sampling: Sampling, limits: Limits,
                 interrupt: Interrupt | None = None) -> None:
        self.ids: list[int] = []
        self.text = ''
        self.finish_reason = ''
        self.stopped_by_text = False
        self.tokens_per_second = 0.0
        self._model = model
        self._state = state
        self._sampling = sampling
        self._limits = limits
        self._interrupt = interrupt

    @property
    def ended(self) -> bool:
        """Tell whether the last id is an end token."""
        return bool(self.ids) and self.ids[-1] in self._model.end_ids

    def steps(self, logits: np.ndarray, context: Sequence[int]) -> Iterator[str]:
        """
        Work until the answer is complete.

        :param logits: float32 ``[vocabulary]`` after the prompt.
        :param context: all ids before the answer, for the repetition penalty.
        :returns: after every token, the text that became certain (often empty).
        """
        model, state = self._model, self._state
        sampler = Sampler(self._sampling, context, model.vocabulary)
        stream, stops = model.tokenizer.stream(), StopTexts(self._limits.stop)
        started = time.monotonic()
        while True:
            if model.image_id is not None:  # it would stand for an image that nobody sent
                logits[model.image_id] = -np.inf
            self.ids.append(sampler.choose(logits))
            if len(self.ids) > 1:
                self.tokens_per_second = (len(self.ids) - 1) / (time.monotonic() - started)
            if self.ended:
                self.finish_reason = STOP
                break
            piece, stopped = stops.push(stream.push(self.ids[-1]))
            self.text += piece
            self.stopped_by_text = stopped
            self.finish_reason = STOP if stopped else self._reached_limit()
            yield piece
            if stopped:
                return
            if self.finish_reason:
                break
            logits = model.runner.run(state, self.ids[-1:], interrupt=self._interrupt)[-1]
        piece, self.stopped_by_text = stops.push(stream.flush())
        if not self.stopped_by_text:
            piece += stops.flush()
        self.text += piece
        yield piece

    def _reached_limit(self) -> str:
        if len(self.ids) >= self._limits.max_tokens:
            return LENGTH
        # Another token is only begun when it, too, would still fit.
        if self._state.position + 2 + self._limits.room > self._model.context_length:
            return CONTEXT
        return ''
