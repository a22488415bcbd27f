# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A tokenizer that fails, panics or grows without bound is refused in a sentence."""
import json
import time

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.text.text_growth import growth
from lfm_ros.engine.text.tokenizer import MAX_ADDED_TOKENS
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import assert_one_line
from support import MODELS
import tokenizers

WORDS = [chr(n) for n in range(32, 127)]


def tokenizer_of(**parts):
    """Return tokenizer.json with these parts."""
    return json.dumps({
        'version': '1.0', 'added_tokens': [], 'normalizer': None, 'pre_tokenizer': None,
        'post_processor': None, 'decoder': None,
        'model': {'type': 'BPE', 'vocab': {word: n for n, word in enumerate(WORDS)},
                  'merges': []}, **parts})


def replace(count, content, pattern='a'):
    rules = [{'type': 'Replace', 'pattern': {'String': pattern}, 'content': content}] * count
    return {'type': 'Sequence', 'normalizers': rules}


def nested(depth):
    return tokenizer_of(normalizer='@').replace(
        '"@"', '{"type": "Sequence", "normalizers": [' * depth + ']}' * depth)


ADDED = [{'id': 1000 + n, 'content': f'<t{n}>', 'single_word': False, 'lstrip': False,
          'rstrip': False, 'normalized': False, 'special': True}
         for n in range(MAX_ADDED_TOKENS + 1)]
BAD = {
    'a table that panics': tokenizer_of(
        normalizer={'type': 'Precompiled', 'precompiled_charsmap': 'AAAA'}),
    'eight rules that write 100 letters for one': tokenizer_of(normalizer=replace(8, 'a' * 100)),
    '64 rules that write between letters': tokenizer_of(normalizer=replace(64, 'x', '')),
    'a decoder that grows': tokenizer_of(decoder={
        'type': 'Sequence', 'decoders': replace(8, 'a' * 100)['normalizers']}),
    'a prefix of 1,000 letters': tokenizer_of(
        normalizer={'type': 'Prepend', 'prepend': 'x' * 1000}),
    'more tokens than are searched for': tokenizer_of(added_tokens=ADDED),
    'nested 100,000 levels': nested(100_000),
    'brackets': '[' * 100_000 + ']' * 100_000,
    'a merge of unknown tokens': tokenizer_of(
        model={'type': 'BPE', 'vocab': {'a': 0}, 'merges': [['x', 'y']]}),
    'an unknown token that it lacks': tokenizer_of(
        model={'type': 'WordLevel', 'unk_token': 'zz', 'vocab': {'a': 0}}),
    'letters without end': '{"version": "\\u001b[31m' + 'A' * 3_000_000 + '"}',
    'UTF-16': 'not a tokenizer\ud7ff',
}


def opened(tmp_path, content):
    (tmp_path / 'tokenizer.json').write_text(content)
    return Tokenizer.open(ModelFolder(tmp_path, tmp_path / 'model.onnx'))


@pytest.mark.parametrize('name', BAD)
def test_a_bad_tokenizer_is_refused_in_one_short_sentence(name, tmp_path):
    started = time.monotonic()
    with pytest.raises(LfmError) as caught:
        opened(tmp_path, BAD[name])
    assert time.monotonic() - started < 120
    assert caught.value.code == ErrorCode.TOKENIZER_INVALID
    assert_one_line(caught.value.message, 'tokenizer.json')
    assert caught.value.message.isprintable() and len(caught.value.message) <= 1000


def test_a_tokenizer_that_panics_at_a_text_fails_with_a_code(tmp_path):
    split = {'type': 'Split', 'pattern': {'Regex': '(a+)+$'}, 'behavior': 'Isolated',
             'invert': False}
    tokenizer = opened(tmp_path, tokenizer_of(pre_tokenizer=split))
    assert tokenizer.encode('Hello')
    with pytest.raises(LfmError) as caught:
        tokenizer.encode('a' * 40 + 'b')
    assert caught.value.code == ErrorCode.TOKENIZER_INVALID
    assert_one_line(caught.value.message, 'fails at a text')


def test_the_tokenizers_of_the_field_do_not_grow():
    for path in MODELS.glob('**/tokenizer.json'):
        assert growth(tokenizers.Tokenizer.from_file(str(path))) <= 4


def test_a_rule_that_replaces_a_space_is_allowed(tmp_path):
    rules = {'type': 'Sequence', 'normalizers': [
        {'type': 'Prepend', 'prepend': '\u2581'},
        {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '\u2581'}]}
    assert opened(tmp_path, tokenizer_of(normalizer=rules)).size == len(WORDS)
