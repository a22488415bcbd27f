# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny byte-level BPE tokenizers with the special tokens of each model family."""

from dataclasses import dataclass
import json
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers
from tokenizers import processors
from tokenizers import Regex
from tokenizers import Tokenizer
from tokenizers import trainers

TEMPLATES = Path(__file__).parent / 'templates'

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+')
_TEXT = """
The robot drives to the dock and waits there until the battery is full. Then it goes back to the
kitchen, looks at the table and says what it sees. The door of the workshop is open, the light in
the corridor is on, and nothing stands in the way. user assistant system tool List of tools
What do you see? Where is the dock? I see the red box on the left of it, near the door.
"""
_LFM2 = (
    '<|pad|>', '<|startoftext|>', '<|endoftext|>', '<|fim_pre|>', '<|fim_mid|>', '<|fim_suf|>',
    '<|im_start|>', '<|im_end|>', '<|tool_list_start|>', '<|tool_list_end|>',
    '<|tool_call_start|>', '<|tool_call_end|>', '<|tool_response_start|>',
    '<|tool_response_end|>', '<|reserved_0|>', '<|reserved_1|>')
_PICTURES = (
    '<image>', *(f'<|img_row_{r}_col_{c}|>' for r in range(1, 11) for c in range(1, 11)),
    '<|img_thumbnail|>', '<|image_start|>', '<|image_end|>',
    *(f'<|reserved_{i}|>' for i in range(2, 14)))


@dataclass(frozen=True)
class Style:
    """
    How a model family cuts text and frames a conversation.

    :param template: name of the chat template in `templates/`
    :param special: added tokens, in the order of their ids
    :param special_first: whether these have the lowest ids (LFM2) or the highest (the others)
    :param plain: added tokens that decoding keeps although it skips special ones
    :param bos: token that encoding puts first, or '' for none
    :param last: further special tokens with the highest ids, in their order
    """

    template: str
    special: tuple[str, ...]
    special_first: bool
    plain: frozenset[str]
    bos: str
    eos: str
    pad: str
    last: tuple[str, ...] = ()


STYLES = {
    'lfm2': Style(
        'lfm2', _LFM2, True, frozenset(), '<|startoftext|>', '<|im_end|>', '<|pad|>'),
    'lfm2.5': Style(
        'lfm2.5', _LFM2, True, frozenset(t for t in _LFM2 if 'tool' in t),
        '<|startoftext|>', '<|im_end|>', '<|pad|>'),
    'lfm2-vl': Style(
        'lfm2-vl', _LFM2, True, frozenset(), '<|startoftext|>', '<|im_end|>', '<|pad|>',
        last=_PICTURES),
    'qwen3': Style(
        'qwen3',
        ('<|endoftext|>', '<|im_start|>', '<|im_end|>', '<tool_call>', '</tool_call>', '<think>',
         '</think>'),
        False, frozenset({'<tool_call>', '</tool_call>', '<think>', '</think>'}),
        '', '<|im_end|>', '<|endoftext|>'),
    'llama': Style(
        'llama',
        ('<|begin_of_text|>', '<|end_of_text|>', '<|finetune_right_pad_id|>',
         '<|start_header_id|>', '<|end_header_id|>', '<|eom_id|>', '<|eot_id|>',
         '<|python_tag|>'),
        False, frozenset(), '<|begin_of_text|>', '<|eot_id|>', '<|finetune_right_pad_id|>'),
    'phi': Style(
        'phi', ('<|endoftext|>', '<|system|>', '<|user|>', '<|assistant|>', '<|end|>'),
        False, frozenset(), '', '<|end|>', '<|endoftext|>'),
}


def train(style: Style, size: int) -> Tokenizer:
    """Return a byte-level BPE tokenizer of exactly `size` entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_SPLIT), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    added = [AddedToken(token, special=token not in style.plain) for token in style.special]
    trainer = trainers.BpeTrainer(
        vocab_size=size - (0 if style.special_first else len(added)) - len(style.last),
        special_tokens=added if style.special_first else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([_TEXT], trainer)
    for token in added:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    tokenizer.add_special_tokens(list(style.last))
    if style.bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f'{style.bos} $A', pair=f'{style.bos} $A $B',
            special_tokens=[(style.bos, tokenizer.token_to_id(style.bos))])
    if tokenizer.get_vocab_size() != size:
        raise ValueError(f'{tokenizer.get_vocab_size()} entries instead of {size}')
    return tokenizer


def save(style: Style, size: int, folder: Path, template_inside: bool) -> None:
    """
    Write tokenizer.json, tokenizer_config.json and the chat template into `folder`.

    :param template_inside: put the template into tokenizer_config.json, as older exports do, and
        not into a file chat_template.jinja of its own
    """
    train(style, size).save(str(folder / 'tokenizer.json'), pretty=not style.last)
    template = (TEMPLATES / f'{style.template}.jinja').read_text()
    config = {
        'tokenizer_class': 'PreTrainedTokenizerFast', 'bos_token': style.bos or None,
        'eos_token': style.eos, 'pad_token': style.pad, 'model_max_length': 512,
        'clean_up_tokenization_spaces': False}
    if template_inside:
        config['chat_template'] = template
    else:
        (folder / 'chat_template.jinja').write_text(template)
    (folder / 'tokenizer_config.json').write_text(json.dumps(config, indent=2) + '\n')
