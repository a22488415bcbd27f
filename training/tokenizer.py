# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make a small byte-level BPE tokenizer with the special tokens and the template of LFM2."""

import json
from pathlib import Path
import random

from missions import MissionMaker, render
from tokenizers import AddedToken, decoders, models, pre_tokenizers, Regex, Tokenizer, trainers
from wordings import ACTIONS, CHAT, TRAINED
import words

VOCABULARY_SIZE = 2816
LARGEST_NUMBER = 300

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
         r' ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+')

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- set system = '' -%}
{%- if messages and messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- if system or tools -%}
    {{- '<|im_start|>system\\n' + system -}}
    {%- if tools -%}
        {{- ('\\n' if system else '') + 'List of tools: <|tool_list_start|>[' -}}
        {%- for tool in tools -%}
            {{- tool if tool is string else tool | tojson -}}
            {{- '' if loop.last else ', ' -}}
        {%- endfor -%}
        {{- ']<|tool_list_end|>' -}}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- set content = message['content'] -%}
    {%- if content is not string -%}
        {%- set parts = namespace(text='') -%}
        {%- for item in content -%}
            {%- set parts.text = parts.text
                + ('<image>' if item['type'] == 'image' else item['text']) -%}
        {%- endfor -%}
        {%- set content = parts.text -%}
    {%- endif -%}
    {%- if message['role'] == 'tool' -%}
        {%- set content = '<|tool_response_start|>' + content + '<|tool_response_end|>' -%}
    {%- endif -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def special_tokens() -> list[str]:
    """Return the special tokens; the index of each is its id, as in the LFM2 family."""
    tokens = ['<|pad|>', '<|startoftext|>', '<|endoftext|>', '<|fim_pre|>', '<|fim_mid|>',
              '<|fim_suf|>', '<|im_start|>', '<|im_end|>', '<|tool_list_start|>',
              '<|tool_list_end|>', '<|tool_call_start|>', '<|tool_call_end|>',
              '<|tool_response_start|>', '<|tool_response_end|>']
    tokens += [f'<|reserved_{i}|>' for i in range(len(tokens), 396)] + ['<image>']
    tokens += [f'<|img_row_{r}_col_{c}|>' for r in range(1, 11) for c in range(1, 11)]
    return tokens + ['<|img_thumbnail|>', '<|image_start|>', '<|image_end|>']


def _corpus() -> list[str]:
    """Return text in which every word and number that should be one token is frequent."""
    listed = (words.ADJECTIVES + words.NOUNS + words.ROOMS + words.STATES + words.OBJECTS +
              words.COLOURS + words.SHAPES + words.NUMBERS + words.VISION + words.NAMES)
    sentences = [text for kind in TRAINED.values() for text in kind]
    sentences += list(CHAT) + list(CHAT.values()) + list(ACTIONS)
    text = [f' {word}' for word in sorted(set(listed)) for _ in range(400)]
    text += [f' {number}' for number in range(LARGEST_NUMBER + 1) for _ in range(2000)]
    text += [sentence for sentence in sentences for _ in range(100)]
    maker, rng = MissionMaker(1), random.Random(1)
    text += [prompt + answer for _ in range(400) for prompt, answer, _ in render(maker.mixed(8))]
    text += [f' {words.made_up_word(rng)}' for _ in range(8000)]
    return text


def make_tokenizer(folder: Path) -> Tokenizer:
    """Train the tokenizer and write its files, with the chat template, into a folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    specials = special_tokens()
    tokenizer.train_from_iterator(_corpus(), trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, show_progress=False,
        special_tokens=[AddedToken(token, special=True) for token in specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    if [tokenizer.token_to_id(token) for token in specials] != list(range(len(specials))):
        raise RuntimeError('the special tokens did not get the ids of the LFM2 family')
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / 'tokenizer.json'))
    (folder / 'chat_template.jinja').write_text(CHAT_TEMPLATE)
    (folder / 'tokenizer_config.json').write_text(json.dumps({
        'tokenizer_class': 'PreTrainedTokenizerFast', 'bos_token': '<|startoftext|>',
        'eos_token': '<|im_end|>', 'pad_token': '<|pad|>', 'model_max_length': 4096,
        'clean_up_tokenization_spaces': False, 'chat_template': CHAT_TEMPLATE}, indent=2) + '\n')
    return tokenizer
