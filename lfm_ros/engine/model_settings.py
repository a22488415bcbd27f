# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read from the settings of a model: its architecture, context length, image and end tokens."""
from __future__ import annotations

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.model_options import DEFAULT_CONTEXT
from lfm_ros.engine.text.chat_template import ChatTemplate
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

END_TOKENS = ('<|im_end|>', '<|endoftext|>')
MIN_CONTEXT = 16  # tokens


def read_model_type(folder: ModelFolder) -> str:
    """Return the architecture, as config.json or genai_config.json names it; else empty."""
    return str(folder.config.get('model_type') or folder.genai.get('model', {}).get('type', ''))


def choose_context_length(folder: ModelFolder, wanted: int) -> int:
    """
    Return the most tokens of one mission: as many as are wanted and the model was made for.

    :param wanted: 0: as many as the model was made for.
    :raises LfmError: INVALID_VALUE, when these are fewer than :data:`MIN_CONTEXT`.
    """
    most = (folder.genai.get('model', {}).get('context_length')
            or folder.text_config.get('max_position_embeddings') or DEFAULT_CONTEXT)
    found = min(wanted or most, most)
    if found < MIN_CONTEXT:
        raise LfmError(ErrorCode.INVALID_VALUE,
                       f'a context of {found} tokens is too short for a conversation: set '
                       f'model.context_length to {MIN_CONTEXT} or more, or to 0 for {most}')
    return found


def read_image_id(folder: ModelFolder) -> int:
    """Return the id of ``<image>`` tokens, -1 if no file gives it."""
    for settings in (folder.config, folder.genai.get('model', {})):
        for name in ('image_token_id', 'image_token_index'):
            if type(settings.get(name)) is int:
                return int(settings[name])
    return -1


def find_end_ids(folder: ModelFolder, vocabulary: int, tokenizer: Tokenizer | None,
                 template: ChatTemplate | None) -> frozenset[int]:
    """
    Return the ids that end an answer.

    These are those of all settings, and the control tokens that usually end one or end it in the
    chat template.

    :param vocabulary: logits of one row; settings with larger ids are ignored.
    """
    found: set[int] = set()
    for settings in (folder.genai.get('model', {}), folder.generation, folder.config,
                     folder.text_config):
        value = settings.get('eos_token_id')
        values = value if isinstance(value, list) else [value]
        found.update(i for i in values if type(i) is int and 0 <= i < vocabulary)
    if tokenizer:
        ids = [*map(tokenizer.id_of, END_TOKENS)]
        if template:
            ids.append(template.markup.assistant_suffix[0])
        found.update(i for i in ids if i in tokenizer.control_ids)
    return frozenset(found)
