# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Continue a text as it stands, without a conversation around it."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.message_encoder import MessageEncoder
from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.model import Model
from lfm_ros.engine.text.chat_template import ChatMarkup
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

# Of LFM2 and its Coder, and of others: before the text, before what comes behind the gap, and
# where the model goes on.
_FILL_TOKENS = (('<|fim_pre|>', '<|fim_suf|>', '<|fim_mid|>'),
                ('<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'))


class RawText(Mission):
    """
    A mission of one turn, which is not kept.

    :param suffix: what comes behind the gap that is to be filled; empty: the text goes on.
    :raises LfmError: UNSUPPORTED, when the model cannot fill a gap.
    """

    def __init__(self, mission_id: str, model: Model, suffix: str) -> None:
        super().__init__(mission_id, model)
        self._encoder = MessageEncoder(model, ChatMarkup((), (), ()))
        self._suffix = suffix
        self._fill = _fill_ids(model) if suffix else ()
        self._push(model.tokenizer.opening_ids())
        self.add(HEAD)

    def encode(self, text: str, images: Sequence[PreparedImage] = (),
               results: Sequence[ToolResult] = ()) -> list[int]:
        """Return the ids of the text, with the gap and what is behind it."""
        ids = super().encode(text)
        if not self._fill:
            return ids
        before, behind, gap = self._fill
        ids = [before, *ids, behind, *super().encode(self._suffix), gap]
        self._check_fits(len(ids))
        return ids


def _fill_ids(model: Model) -> tuple[int, ...]:
    for texts in _FILL_TOKENS:
        ids = [model.tokenizer.id_of(text) for text in texts]
        if None not in ids:
            return tuple(i for i in ids if i is not None)
    raise LfmError(ErrorCode.UNSUPPORTED, f'{model.name} does not support fill-in-the-middle, its '
                   'tokenizer has no tokens for it: leave suffix empty, or use LFM2 or LFM2-Coder')
