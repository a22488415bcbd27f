# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sentences of the command name its options, where those of the node name parameters."""
from __future__ import annotations

import ast
from collections.abc import Iterator
import logging
from pathlib import Path
import re

from lfm_ros.cli.main import main
from lfm_ros.cli.main import make_parser
from lfm_ros.cli.option_names import FIELDS
from lfm_ros.cli.option_names import FORMATS
from lfm_ros.cli.option_names import OF_THE_NODE
from lfm_ros.cli.option_names import PARAMETERS
from lfm_ros.cli.option_names import with_option_names
from lfm_ros.cli.output import LogFormatter
from lfm_ros.node.parameters import BY_NAME
import pytest
from support import assert_one_line
from support import folder

ROOT = Path(__file__).resolve().parents[2] / 'lfm_ros'
BELOW = ('engine', 'conversation', 'storage', 'serving', 'prepare')
# Only a node has a queue with others in it, a budget, and a limit of its missions.
NEVER_MET = ('queue.size', 'queue.parallel', 'memory.budget_mb', 'memory.device_budget_mb',
             'missions.max_count')


def sentences() -> Iterator[str]:
    """Yield all texts in the code that the command stands on, docstrings left out."""
    for file in (path for name in BELOW for path in sorted((ROOT / name).rglob('*.py'))):
        tree = ast.parse(file.read_text(encoding='utf-8'))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) \
                    and id(node) not in docs:
                yield node.value


def test_every_parameter_that_a_sentence_names_has_an_option_or_is_the_node_s() -> None:
    named = {name for text in sentences() for name in re.findall(r'[a-z]+\.[a-z_]+', text)
             if name in BY_NAME}
    assert len(named) > 12
    assert named - {*PARAMETERS, *OF_THE_NODE} <= {*NEVER_MET}
    assert {*PARAMETERS, *OF_THE_NODE} <= {*BY_NAME}


def test_every_option_that_is_named_exists() -> None:
    options = make_parser('ask')._verbs['ask']._option_string_actions
    for option in (*PARAMETERS.values(), *FIELDS.values(), *FORMATS.values()):
        assert option in options or option == 'MODEL'


@pytest.mark.parametrize('sentence, other', [
    ('set model.context_length to 16 or more', 'set --context to 16 or more'),
    ('let missions.overflow make room', 'let --overflow make room'),
    ('raise timeout or lower max_tokens', 'raise --timeout or lower --max-tokens'),
    ('top_k is -1: set it', '--top-k is -1: set it'),
    ('leave missions.key_file empty, or', 'leave --key-file out, or'),
    ('raise model.run_timeout if', 'raise model.run_timeout of the node if'),
    ('send no images and no use_camera, or set model.path', 'send no images, or set MODEL'),
    ('the grammar of response_format cannot', 'the grammar of the answer cannot'),
    ('response_format is too complex', 'the format of the answer is too complex'),
    # what is quoted or a path is from outside, and these are told apart on purpose
    ("no mission 'timeout'", "no mission 'timeout'"), ('in /raw/seed is', 'in /raw/seed is'),
    ('model.onnx is damaged', 'model.onnx is damaged'),
    ('missions.dir of the node', 'missions.dir of the node'),
    ('--timeout is -1', '--timeout is -1')])
def test_names_are_replaced(sentence: str, other: str) -> None:
    assert with_option_names(sentence) == other


def test_the_format_that_was_given_is_named() -> None:
    assert with_option_names('response_format is too complex', 'JSON schema') \
        == '--schema is too complex'


@pytest.mark.parametrize('arguments, words', [
    (('--context', '8'), ('--context', '16')), (('--temperature', '9'), ('--temperature is 9',)),
    (('--system', 'x ' * 2000), ('raise --context',)), (('--timeout', '1e9'), ('--timeout is',)),
    (('--schema', '{'), ('--schema has',)), (('--tool-choice', 'go'), ("--tool-choice is 'go'",)),
    (('--regex', '('), ('of the answer',)), (('--image', __file__), ('MODEL', 'LFM2-VL')),
    (('--regex', 'a', '--choice', 'b'), ('--regex, --choice',)),
    (('--regex', 'a', '--stop', 'b'), ('--regex and --stop',)),
    (('--logprobs',), ('--logprobs', '--choice')), (('--suffix', 'x'), ('--raw',)),
    (('--missions-dir', '/dev/null'), ('--missions-dir',)),
    (('--missions-dir', 'DIR', '--key-file', '/dev/null'), ('--key-file',))],
    ids=lambda a: ' '.join(a)[:40])
def test_what_is_refused_names_the_option(
        arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    arguments = tuple(str(tmp_path) if a == 'DIR' else a for a in arguments)
    assert main(['ask', str(folder()), 'What?', *arguments]) in (1, 2)
    said = capsys.readouterr().err
    assert_one_line(said, *words)
    assert not [name for name in BY_NAME if '.' in name and name in said]


def test_the_log_names_options() -> None:
    record = logging.LogRecord('x', logging.WARNING, '', 0, 'free space in missions.dir', (), None)
    assert LogFormatter('lfm: %(message)s').format(record) == 'lfm: free space in --missions-dir'


def test_words_in_quotations_are_no_options():
    for sentence in ("the turn 'what is the temperature outside' was undone",
                     'the prompt is "is the timeout of the raw data ok"'):
        assert with_option_names(sentence) == sentence
    assert with_option_names("'a' is no temperature") == "'a' is no --temperature"
