# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever lies in the place of a file of a model is read or refused, in time and memory."""
import json
import os
import random
import shutil
import socket
import tracemalloc

from hostile_support import open_all
from lfm_ros.engine.files import model_file
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import default_sampling
from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.vision.image_processor import ImageSettings
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import pytest
from support import assert_one_line
from support import folder
from support import MODELS

SETTINGS = ('config.json', 'genai_config.json', 'generation_config.json',
            'tokenizer_config.json')
FILES = (*SETTINGS, 'tokenizer.json', 'chat_template.jinja', 'model.onnx', 'model.onnx.data')


def fifo(path):
    os.mkfifo(path)


def socket_file(path):
    os.chdir(path.parent)  # the name of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def endless(path):
    path.symlink_to('/dev/zero')


def to_itself(path):
    path.symlink_to(path.name)


THINGS = {'a pipe': fifo, 'a socket': socket_file, 'a folder': os.mkdir, 'a device': endless,
          'a link to nothing': lambda path: path.symlink_to('nothing'),
          'a link to itself': to_itself}


@pytest.fixture(autouse=True)
def stay(monkeypatch, tmp_path):
    """Return to where the test began."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('thing', THINGS)
def test_what_is_no_file_in_the_place_of_one_is_refused_and_not_waited_for(thing, tmp_path):
    targets = []
    for name in FILES:
        targets.append(tmp_path / name.replace('.', '-'))
        shutil.copytree(folder('lfm2-past-conv'), targets[-1])
        path = targets[-1] / name
        path.unlink(missing_ok=True)
        THINGS[thing](path)
    for name, line in zip(FILES, open_all(targets)):
        assert line != 'OPEN', name
        assert name in line or 'chat_template' in name, (name, line)


DEEP = '[' * 100_000 + ']' * 100_000
CONTENTS = {
    'nested 100,000 levels': DEEP.encode(),
    'nested in an object': b'{"a": ' * 100_000 + b'1' + b'}' * 100_000,
    'a model in a model in a model': b'{"model": ' * 800 + b'{}' + b'}' * 800,
    'not UTF-8': b'{"a": "\xff\xfe"}',
    'UTF-16': '{"a": 1}'.encode('utf-16'),
    'a byte order mark': b'\xef\xbb\xbf{}',
    'a number of 5,000 digits': b'{"vocab_size": ' + b'9' * 5000 + b'}',
    'bytes of zero': bytes(1000),
    'more than 4 MiB': b'{"a": "' + b'x' * (5 << 20) + b'"}',
    'escapes in it': b'{"model": "\\u001b[31m\\u202e' + b'A' * 300_000 + b'"}',
}


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('content', CONTENTS)
def test_settings_that_no_tool_writes_are_refused_in_a_sentence_that_names_them(
        content, name, tmp_path):
    shutil.copytree(folder(), tmp_path / 'm')
    (tmp_path / 'm' / name).write_bytes(CONTENTS[content])
    try:
        model = Model(tmp_path / 'm', ModelOptions(threads=1))
    except LfmError as error:
        assert error.code == ErrorCode.MODEL_DAMAGED, error.message
        assert_one_line(error.message, name)
        assert error.message.isprintable() and len(error.message) <= 1000
    else:  # settings that are not read
        assert content in ('a model in a model in a model', 'a number of 5,000 digits',
                           'escapes in it') and model


def test_a_file_of_a_gigabyte_is_not_read(tmp_path):
    shutil.copytree(folder(), tmp_path / 'm')
    for name in (*SETTINGS, 'chat_template.jinja', 'tokenizer.json'):
        target = tmp_path / name.replace('.', '-')
        shutil.copytree(folder(), target)
        with (target / name).open('wb') as stream:
            stream.truncate(1 << 30)
        tracemalloc.start()
        try:
            with pytest.raises(LfmError) as caught:
                Model(target, ModelOptions(threads=1))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert_one_line(caught.value.message, 'MiB')
        assert peak < 2 * model_file.MAX_TOKENIZER_BYTES, name


def test_of_a_key_that_stands_twice_the_last_one_counts_as_in_every_other_tool(tmp_path):
    shutil.copytree(folder(), tmp_path / 'm')
    (tmp_path / 'm' / 'config.json').write_text(
        '{"vocab_size": 5, "model_type": "lfm2", "vocab_size": null}')
    assert find_model(tmp_path / 'm').config == {'model_type': 'lfm2'}


ODD = ('x', {}, [], [[]], {'a': {}}, True, False, -1, 0, 1 << 62, 10 ** 30, 10 ** 400, 1e400,
       -1e400, float('nan'), 0.5, '\x1b[31m', 'x' * 100_000, ['x'] * 1000)


@pytest.mark.parametrize('name', SETTINGS)
def test_settings_of_any_type_are_read_or_refused(name, tmp_path):
    shutil.copytree(folder(), tmp_path / 'm')
    path = tmp_path / 'm' / name
    whole = path.read_text()
    pairs = [(spot, value) for spot in places(json.loads(whole)) for value in ODD]
    for (place, key), value in random.Random(name).sample(pairs, min(len(pairs), 40)):
        inner = changed = json.loads(whole)
        for step in place:
            inner = inner[step]
        inner[key] = value
        path.write_text(json.dumps(changed))
        try:
            Model(tmp_path / 'm', ModelOptions(threads=1, context_length=64))
        except LfmError as error:
            assert error.message.isprintable() and len(error.message) <= 1000


@pytest.mark.parametrize('value', [float('nan'), 1e400, 10 ** 400, -10 ** 400])
@pytest.mark.parametrize('key', RANGES)
def test_sampling_that_is_no_number_is_refused(key, value):
    with pytest.raises(LfmError) as caught:
        default_sampling({key: value})
    assert caught.value.code == ErrorCode.MODEL_DAMAGED
    assert_one_line(caught.value.message, 'generation_config.json')


@pytest.mark.parametrize('name', ['preprocessor_config.json', 'processor_config.json'])
def test_every_setting_of_images_of_any_type_is_read_or_refused(name, tmp_path):
    shutil.copytree(MODELS / 'vision' / 'lfm2-vl', tmp_path / 'm')
    path = tmp_path / 'm' / name
    given = json.loads((tmp_path / 'm' / 'preprocessor_config.json').read_text())
    (tmp_path / 'm' / 'preprocessor_config.json').unlink()
    found = find_model(tmp_path / 'm')
    for key in given:
        for value in ODD:
            changed = {**given, key: value}
            path.write_text(json.dumps(
                changed if name.startswith('pre') else {'image_processor': changed}))
            try:
                ImageSettings.read(found)
            except LfmError as error:
                assert error.message.isprintable() and len(error.message) <= 1000


def places(settings):
    """Return the path and the key of every value, wherever it stands."""
    def walk(value, path):
        for key, inner in value.items():
            yield path, key
            if isinstance(inner, dict):
                yield from walk(inner, [*path, key])
    return list(walk(settings, []))
