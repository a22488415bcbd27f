# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages and answers as token ids, with the chat markup around them."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.engine.model import Model
from lfm_ros.engine.text.chat_template import ChatMarkup
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError


class MessageEncoder:
    """
    Turns words, results and answers into ids of a model.

    :param markup: what stands around questions and answers; None: as the model's template has it.
    """

    def __init__(self, model: Model, markup: ChatMarkup | None = None) -> None:
        self.markup = markup or model.template.markup
        self._model = model

    def encode_text(self, text: str, images: Sequence[PreparedImage] = (), head_tokens: int = 0
                    ) -> list[int]:
        """
        Return the ids of text from outside, those of images before it.

        :param head_tokens: that stand before everything in the mission.
        :raises LfmError: PROMPT_TOO_LONG, when no answer of one token would fit.
        """
        tokenizer, limit = self._model.tokenizer, self._model.context_length
        if len(text) > limit * tokenizer.longest:  # not worth the time
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the text has {len(text)} characters and '
                           f'the context has {limit} tokens: send less text or raise '
                           'model.context_length')
        shown = [i for image in images for i in self._model.require_vision().ids(image)]
        ids = shown + tokenizer.encode(text)
        markup = self.markup
        taken = head_tokens + len(markup.user_prefix) + len(markup.assistant_prefix) + 1 \
            + len(markup.assistant_suffix)
        if taken + len(ids) > limit:
            what, less = ('text has', 'text') if not shown else \
                (f'{len(images)} images and the text have', 'or smaller images')
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the {what} {len(ids)} tokens and the '
                           f'context has {limit}, {taken} of them taken: send less {less} or '
                           'raise model.context_length')
        return ids

    def results(self, results: Sequence[ToolResult], message: Sequence[int]) -> list[int]:
        """
        Return the ids of results of functions, and of words of the user behind them.

        :raises LfmError: PROMPT_TOO_LONG, UNSUPPORTED.
        """
        markup, ids = self._model.template.tool_markup, []
        for number, result in enumerate(results):
            ids += [*(markup.next if number else ()), *self.encode_text(result.content)]
        return [*ids, *(markup.to_user if message else ()), *message]

    def answer(self, text: str, calls: bool) -> list[int]:
        """
        Return the ids of what the model has said.

        :param calls: whether there may be calls of functions in it.
        """
        tokenizer, tool_format = self._model.tokenizer, self._model.tool_format
        if not (tool_format and calls):
            return tokenizer.encode(text)
        return [i for part in tool_format.split(text) for i in (
            tokenizer.encode_control(part) if part in tool_format.texts else
            tokenizer.encode(part))]

    def delimiters(self, in_message: bool, results: bool = False, asks: bool = True
                   ) -> tuple[Sequence[int], Sequence[int]]:
        """
        Return the ids before and behind what is to be answered.

        :param in_message: whether observations have opened the message of the user.
        :param results: whether it begins with results; ``asks`` whether the user says something.
        """
        markup = self.markup
        if not results:
            return () if in_message else markup.user_prefix, markup.assistant_prefix
        told = self._model.template.tool_markup
        return told.open_in_user if in_message else told.open, \
            markup.assistant_prefix if asks else told.to_answer
