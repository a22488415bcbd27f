# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files in which bytes or values changed are read or refused, and never crash."""
import json
import shutil
import subprocess
import sys

from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.errors import LfmError
import pytest
from support import environment
from support import folder
from support import WAIT

FUZZ = """
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.errors import LfmError
from pathlib import Path
import random
import sys
path = Path(sys.argv[1]) / 'model.onnx'
content = path.read_bytes()
chance = random.Random(int(sys.argv[2]))
for number in range(25):
    if number < 10:
        spoiled = content[:chance.randrange(len(content))]
    else:
        spoiled = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            spoiled[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(spoiled)
    print(number, flush=True)
    try:
        Model(path.parent, ModelOptions(threads=1))
    except LfmError as error:
        assert '\\n' not in error.message, error.message
"""


@pytest.mark.parametrize('seed', range(4))
def test_a_spoiled_graph_opens_or_is_refused_and_never_crashes(seed, tmp_path):
    """ONNX Runtime might abort, so this runs in a process of its own."""
    shutil.copytree(folder(), tmp_path / 'm')
    done = subprocess.run(
        [sys.executable, '-c', FUZZ, str(tmp_path / 'm'), str(seed)], env=environment(),
        capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, (done.returncode, done.stdout[-100:], done.stderr[-3000:])
    assert done.stdout.split()[-1] == '24'


def test_settings_of_any_other_type_are_read_or_refused(tmp_path):
    """Replace every value of every settings file by values of other types."""
    shutil.copytree(folder(), tmp_path / 'm')
    for name in ('config.json', 'genai_config.json', 'generation_config.json',
                 'tokenizer_config.json'):
        path = tmp_path / 'm' / name
        whole = path.read_text()
        found = json.loads(whole)
        absent = [([], 'text_config'), ([], 'head_dim'), ([], 'temperature')]
        for place, key in [*places(found), *absent]:
            for value in ('x', {}, None, -1, [[]], 1e400):
                inner = changed = json.loads(whole)
                for step in place:
                    inner = inner[step]
                inner[key] = value
                path.write_text(json.dumps(changed))
                try:
                    Model(tmp_path / 'm', ModelOptions(threads=1))
                except LfmError as error:
                    assert '\n' not in error.message
        path.write_text(whole)


def places(settings_of_file):
    """Return the path and the key of values that the engine reads, wherever they stand."""
    read = {'text_config', 'model', 'decoder', 'filename', 'head_size', 'head_dim', 'hidden_size',
            'num_attention_heads', 'num_key_value_heads', 'conv_L_cache', 'vocab_size',
            'context_length', 'max_position_embeddings', 'eos_token_id', 'model_type',
            'bos_token', 'chat_template', 'temperature'}

    def walk(value, path):
        for key, inner in value.items():
            if key in read:
                yield path, key
            if isinstance(inner, dict):
                yield from walk(inner, [*path, key])
    return list(walk(settings_of_file, []))
