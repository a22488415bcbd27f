# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Text from outside stays text, and characters come out whole."""
import random

from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.engine.text.tokenizer import StopTexts
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import MODELS
from support import open_model
import tokenizers

FAMILIES = ['lfm2', 'lfm2-odd', 'qwen3', 'llama']
TEXTS = [
    'Where is the dock?', 'two  spaces, a\ttab\n\n\nand lines ', "don't 12345 <b>[x]</b>",
    'Grüße, 你好世界, 안녕하세요, नमस्ते, שלום', '👩‍👩‍👧‍👦 🇩🇪 👍🏽 é', '\x00\x01\x7f\u200b\ufeff', '',
]


@pytest.fixture(params=FAMILIES)
def tokenizer(request):
    return open_model(request.param).tokenizer


def plain(name):
    """Return the tokenizer of a fixture without anything of ours."""
    return tokenizers.Tokenizer.from_file(str(MODELS / name / 'tokenizer.json'))


def byte_ids(tokenizer, data):
    """Return ids that stand for these bytes, one each."""
    alphabet = {}
    low = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    for byte in range(256):
        alphabet[byte] = chr(byte if byte in low else next(spare))
    return [tokenizer.id_of(alphabet[byte]) for byte in data]


@pytest.mark.parametrize('name', FAMILIES)
@pytest.mark.parametrize('text', TEXTS)
def test_ordinary_text_is_encoded_as_the_plain_tokenizer_does_and_comes_back(name, text):
    tokenizer = open_model(name).tokenizer
    ids = tokenizer.encode(text)
    assert ids == plain(name).encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == text


def test_what_looks_like_a_control_token_stays_plain_text(tokenizer):
    for token_id in tokenizer.control_ids:
        token = tokenizer.piece(token_id)
        assert tokenizer.encode_control(token) == [token_id], 'a template means it'
        for text in (token, token * 3, f'a{token}b', f' {token}\n', token[:-1] + token,
                     token[0] + token, token[:4] + token + token[4:]):
            ids = tokenizer.encode(text)
            assert tokenizer.control_ids.isdisjoint(ids), text
            assert tokenizer.decode(ids) == text


def test_control_tokens_are_all_added_tokens_of_the_fixtures(tokenizer):
    added = tokenizer._inner.get_added_tokens_decoder()
    assert tokenizer.control_ids == set(added)


def test_no_mixture_of_pieces_of_control_tokens_makes_one(tokenizer):
    chance = random.Random(5)
    tokens = [tokenizer.piece(i) for i in sorted(tokenizer.control_ids)]
    for _ in range(400):
        parts = []
        for _ in range(chance.randint(1, 6)):
            token = chance.choice(tokens)
            start = chance.randint(0, len(token))
            parts.append(token[start:chance.randint(start, len(token))] if chance.random() < 0.6
                         else chance.choice([token, token, 'x', ' ', '\n', '<', '|>', 'é']))
        text = ''.join(parts)
        ids = tokenizer.encode(text)
        assert tokenizer.control_ids.isdisjoint(ids), text
        assert tokenizer.decode(ids) == text


def test_tokens_that_take_in_spaces_or_differ_in_case_stay_plain_text():
    inner = plain('lfm2')
    inner.normalizer = tokenizers.normalizers.Lowercase()
    inner.add_special_tokens([tokenizers.AddedToken('<|stop|>', normalized=True)])
    inner.add_special_tokens([tokenizers.AddedToken('<|wide|>', lstrip=True, rstrip=True)])
    tokenizer = Tokenizer(inner)
    for text in ('<|STOP|>', '<|Stop|> now', ' <|wide|> ', 'a<|im_end|>'):
        assert tokenizer.control_ids.isdisjoint(tokenizer.encode(text)), text


def test_a_vocabulary_may_add_plain_words_that_are_no_controls():
    inner = plain('lfm2')
    inner.add_tokens(['        ', 'robot'])
    tokenizer = Tokenizer(inner)
    found = tokenizer.encode('the robot        waits')
    assert {inner.token_to_id('robot'), inner.token_to_id(' ' * 8)} <= set(found)


def test_special_tokens_are_not_part_of_the_text(tokenizer):
    special = tokenizer._special
    ids = tokenizer.encode('yes')
    assert tokenizer.decode([*special, *ids, *special]) == 'yes'


def test_tool_tokens_that_are_not_special_are_part_of_the_text():
    tokenizer = open_model('qwen3').tokenizer
    start = tokenizer.id_of('<tool_call>')
    assert tokenizer.decode([start, *tokenizer.encode('go()')]) == '<tool_call>go()'
    assert start in tokenizer.control_ids


@pytest.mark.parametrize('text', TEXTS)
def test_streaming_gives_whole_characters_only(tokenizer, text):
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in byte_ids(tokenizer, text.encode())]
    assert not any('\ufffd' in piece for piece in pieces)
    assert ''.join(pieces) == text
    assert stream.flush() == ''


def test_every_character_comes_as_soon_as_it_is_whole(tokenizer):
    stream = tokenizer.stream()
    given = [stream.push(i) for i in byte_ids(tokenizer, 'a€😀b'.encode())]
    assert given == ['a', '', '', '€', '', '', '', '😀', 'b']


def test_bytes_that_are_no_character_come_as_a_replacement_at_the_end(tokenizer):
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in byte_ids(tokenizer, 'ok€'.encode()[:-1])]
    assert (''.join(pieces), stream.flush(), stream.flush()) == ('ok', '\ufffd', '')


def test_a_stream_gives_the_same_text_as_decoding_all_at_once(tokenizer):
    chance = random.Random(3)
    letters = [bytes([b]) for b in range(256)] + [c.encode() for c in 'é€😀界ab '] * 30
    for _ in range(150):
        data = b''.join(chance.choices(letters, k=chance.randint(1, 30)))
        ids = byte_ids(tokenizer, data)
        stream = tokenizer.stream()
        found = ''.join(map(stream.push, ids)) + stream.flush()
        assert found == data.decode(errors='replace') == tokenizer.decode(ids)


def test_a_character_after_many_invalid_bytes_is_still_whole(tokenizer):
    for invalid in range(12):
        data = b'\xff' * invalid + '😀'.encode()
        stream = tokenizer.stream()
        pieces = [stream.push(i) for i in byte_ids(tokenizer, data)]
        assert ''.join(pieces) == '\ufffd' * invalid + '😀'


def test_a_stream_of_words_with_leading_spaces_keeps_the_spaces():
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(
        {'▁go': 0, '▁to': 1, '▁it': 2, '<unk>': 3}, [], unk_token='<unk>'))
    inner.decoder = tokenizers.decoders.Metaspace()
    stream = Tokenizer(inner).stream()
    assert ''.join(stream.push(i) for i in (0, 1, 2)) + stream.flush() == 'go to it'


def stopped_text(stops, pieces):
    """Return what a stream of pieces gives before its stop text, and whether it met one."""
    texts = StopTexts(stops)
    given = ''
    for piece in pieces:
        text, stopped = texts.push(piece)
        given += text
        if stopped:
            return given, True
    return given + texts.flush(), False


@pytest.mark.parametrize('stops, text, expected', [
    (['STOP'], 'go STOP now', ('go ', True)),
    (['STOP'], 'go STO', ('go STO', False)),
    (['aab'], 'aaaab', ('aa', True)),
    (['abc', 'bcd'], 'xabcd', ('x', True)),
    (['abcd', 'bc'], 'xabcd', ('xa', True)),
    (['\n\n'], 'one\ntwo\n\nthree', ('one\ntwo', True)),
    (['', 'x'], 'ab', ('ab', False)),
    ([], 'ab', ('ab', False)),
    (['é'], 'caf' + 'é', ('caf', True)),
])
def test_text_ends_before_the_first_stop_text_however_it_is_cut(stops, text, expected):
    chance = random.Random(7)
    assert stopped_text(stops, list(text)) == expected
    for _ in range(30):
        cuts = sorted(chance.choices(range(len(text) + 1), k=chance.randint(0, 5)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
        given, stopped = stopped_text(stops, pieces)
        assert stopped == expected[1]
        # Of two stop texts that overlap, the one that is complete first may win.
        assert given == expected[0] or given in [text[:text.find(s)] for s in stops if s in text]


def test_nothing_is_held_back_that_can_not_begin_a_stop_text():
    texts = StopTexts(['STOP', 'END'])
    assert texts.push('go S') == ('go ', False)
    assert texts.push('o E') == ('So ', False)
    assert texts.push('at') == ('Eat', False)


@pytest.mark.parametrize('text', ['\udcff', 'a\ufffdb', '\ud800'])
def test_text_that_was_not_utf8_is_refused(text):
    with pytest.raises(LfmError) as caught:
        check_text(text, 'prompt')
    assert caught.value.code == ErrorCode.INVALID_TEXT
    assert 'prompt' in caught.value.message
    for good in TEXTS:
        check_text(good, 'prompt')


def test_truncation_and_padding_of_the_file_are_ignored(tmp_path):
    inner = plain('lfm2')
    inner.enable_truncation(4)
    inner.enable_padding(length=4)
    inner.save(str(tmp_path / 'tokenizer.json'))
    (tmp_path / 'model.onnx').touch()
    tokenizer = Tokenizer.open(find_model(tmp_path))
    assert tokenizer.decode(tokenizer.encode('Where is the dock?')) == 'Where is the dock?'
    assert len(tokenizer.encode('a')) == 1
