# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is said in a mission, as ids, and what stands around it."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.engine.model import Model
from lfm_ros.engine.picture import Picture
from lfm_ros.engine.template import Frame
from lfm_ros.engine.tools import ToolResult
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError


class Wording:
    """
    Turns words, results and answers into ids of a model.

    :param frame: what stands around questions and answers; None: as the model's template has it.
    """

    def __init__(self, model: Model, frame: Frame | None = None) -> None:
        self.frame = frame or model.template.frame
        self._model = model

    def words(self, text: str, images: Sequence[Picture] = (), head_tokens: int = 0) -> list[int]:
        """
        Return the ids of text from outside, those of images before it.

        :param head_tokens: that stand before everything in the mission.
        :raises LfmError: PROMPT_TOO_LONG, when no answer of one token would fit.
        """
        tokenizer, limit = self._model.tokenizer, self._model.context_length
        if len(text) > limit * tokenizer.longest:  # not worth the time
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the text has {len(text)} characters and '
                           f'the context holds {limit} tokens: send less text or raise '
                           'model.context_length')
        shown = [i for image in images for i in self._model.sight().ids(image)]
        ids = shown + tokenizer.encode(text)
        frame = self.frame
        taken = head_tokens + len(frame.user_open) + len(frame.answer_open) + 1 \
            + len(frame.answer_close)
        if taken + len(ids) > limit:
            what, less = ('text has', 'text') if not shown else \
                (f'{len(images)} images and the text have', 'or smaller images')
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the {what} {len(ids)} tokens and the '
                           f'context holds {limit}, {taken} of them taken: send less {less} or '
                           'raise model.context_length')
        return ids

    def results(self, results: Sequence[ToolResult], words: Sequence[int]) -> list[int]:
        """
        Return the ids of results of functions, and of words of the user behind them.

        :raises LfmError: PROMPT_TOO_LONG, UNSUPPORTED.
        """
        frame, ids = self._model.template.results, []
        for number, result in enumerate(results):
            ids += [*(frame.next if number else ()), *self.words(result.content)]
        return [*ids, *(frame.to_user if words else ()), *words]

    def answer(self, text: str, calls: bool) -> list[int]:
        """
        Return the ids of what the model has said.

        :param calls: whether there may be calls of functions in it.
        """
        tokenizer, dialect = self._model.tokenizer, self._model.calling
        if not (dialect and calls):
            return tokenizer.encode(text)
        return [i for part in dialect.split(text) for i in (
            tokenizer.encode_control(part) if part in dialect.texts else tokenizer.encode(part))]

    def around(self, in_message: bool, results: bool = False, asks: bool = True
               ) -> tuple[Sequence[int], Sequence[int]]:
        """
        Return the ids before and behind what is to be answered.

        :param in_message: whether observations have opened the message of the user.
        :param results: whether it begins with results; ``asks`` whether the user says something.
        """
        frame = self.frame
        if not results:
            return () if in_message else frame.user_open, frame.answer_open
        told = self._model.template.results
        return told.open_in_user if in_message else told.open, \
            frame.answer_open if asks else told.to_answer
