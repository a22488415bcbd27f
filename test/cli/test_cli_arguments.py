# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Command lines as people write them: in any order, from pipes and files, with mistakes."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
import io
import json
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from lfm_ros.cli import ask
from lfm_ros.cli.arguments import HelpFormatter
from lfm_ros.cli.main import main
from lfm_ros.cli.main import make_parser
from lfm_ros.cli.main import VERBS
from lfm_ros.errors import ErrorCode
from lfm_ros.serving.answer import Answer
import pytest
from support import assert_one_line
from support import command
from support import environment
from support import folder
from support import lfm
from support import WAIT

SCHEMA = json.dumps({'type': 'boolean', 'description': 'long ' * 200})  # no name of a file
TOOLS = '[{"name": "go", "description": "Drive."}]'
LARK = 'start: "left"'


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what `lfm ask` asks, without a model; empty as long as it asks nothing."""
    found: dict[str, Any] = {}
    scheduler = SimpleNamespace(store=SimpleNamespace(storage=SimpleNamespace(
        durability_error='')))

    def keep(_: Any, arguments: argparse.Namespace, text: str, images: Any, **fields: Any
             ) -> Answer:
        found.update(vars(arguments), prompt=text, fields=fields)
        return Answer('', 'default', finish_reason='stop')

    monkeypatch.setattr(ask, 'open_scheduler', lambda _: nullcontext(scheduler))
    monkeypatch.setattr(ask, 'ask', keep)
    return found


@pytest.mark.parametrize('line', [
    ('MODEL', 'What?', '--max-tokens', '3'), ('MODEL', '--max-tokens', '3', 'What?'),
    ('--max-tokens', '3', 'MODEL', 'What?'), ('MODEL', '--max-tokens=3', '--', 'What?'),
    ('MODEL', '--max-tokens', '3', '--choice', 'a', 'b', '--', 'What?'),
    ('MODEL', '--choice', 'a', 'b', '--max-tokens', '3', 'What?'),
    ('MODEL', '--max-tokens', '3', '--choice', 'a', 'b', 'What?'),
    ('MODEL', '--max-tokens', '3', '--choice', 'a', '--choice', 'b', 'What?')], ids=' '.join)
def test_the_text_stands_before_between_or_behind_the_options(
        line: tuple[str, ...], parsed: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['ask', *line]) == 0
    assert (parsed['prompt'], parsed['model'], parsed['max_tokens']) == ('What?', 'MODEL', 3)
    assert parsed['choice'] in ([], ['a', 'b'])
    said = capsys.readouterr().err
    taken = line[-4:-1] in (('--choice', 'a', 'b'), ('a', '--choice', 'b'))
    assert said == ("lfm ask: the prompt is 'What?', the last text behind --choice\n"
                    if taken else '')


@pytest.mark.parametrize('line', [
    ('What?', '--choice', 'yes', 'no'), ('What?', '--choice', 'yes', '--choice', 'no'),
    ('--choice', 'yes', 'no', '--stop', 'x', 'What?')])
def test_choices_stand_behind_one_option_or_several(
        line: tuple[str, ...], parsed: dict[str, Any]) -> None:
    assert main(['ask', 'MODEL', *line]) == 0
    assert (parsed['choice'], parsed['prompt']) == (['yes', 'no'], 'What?')
    assert parsed['fields']['response_format'].choices == ('yes', 'no')


@pytest.mark.parametrize('line', [(), ('--choice', 'yes', 'no'), ('--choice', 'a', '--choice',
                                                                  'b', '--choice', 'c')])
def test_a_prompt_that_is_missing_is_not_made_of_a_choice(
        line: tuple[str, ...], parsed: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['ask', 'MODEL', *line]) == 2 and not parsed.get('prompt')
    assert_one_line(capsys.readouterr().err, 'no prompt', 'standard input')


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch, parsed: dict[str, Any]) -> None:
    monkeypatch.setattr(sys, 'stdin', io.StringIO('Where is\nthe dock?\n'))
    assert main(['ask', 'MODEL', '-', '--max-tokens', '3']) == 0
    assert parsed['prompt'] == 'Where is\nthe dock?'


def test_standard_input_is_read_by_the_command_itself() -> None:
    line = ('--max-tokens', '4', '--temperature', '0')
    piped = lfm('ask', folder(), '-', *line, stdin='Wo ist die Tür?\n'.encode())
    given = lfm('ask', folder(), *line, 'Wo ist die Tür?')
    assert piped.returncode == 0 and piped.stdout == given.stdout != ''
    assert lfm('score', folder(), '--text', '-', stdin=b'the dock').stdout \
        == lfm('score', folder(), '--text', 'the dock').stdout
    refused = lfm('ask', folder(), '-', stdin=b'\xff')
    assert refused.returncode == 2
    assert_one_line(refused.stderr, 'UTF-8')


def test_standard_input_that_is_closed_is_told() -> None:
    done = subprocess.run(['sh', '-c', 'exec "$@" <&-', 'sh', *command('ask', folder(), '-')],
                          env=environment(), capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 2
    assert_one_line(done.stderr, 'lfm ask: ', 'closed')


@pytest.mark.parametrize('option, text', [
    ('--schema', SCHEMA), ('--schema', ' true'), ('--tools', TOOLS), ('--grammar', LARK)])
@pytest.mark.parametrize('way', ['text', 'file', 'file with a mark', 'input'])
def test_schema_tools_and_grammar_are_texts_or_in_files(
        option: str, text: str, way: str, parsed: dict[str, Any], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'stdin', io.StringIO(text))
    name = {'text': text, 'input': '-'}.get(way, 'true: a file')
    Path('true: a file').write_text(text, encoding='utf-8-sig' if 'mark' in way else 'utf-8')
    assert main(['ask', 'MODEL', 'What?', option, name]) == 0
    form = parsed['fields']['response_format']
    if option == '--tools':
        assert [tool.name for tool in parsed['fields']['tools']] == ['go']
    else:
        assert (form.json_schema or form.grammar) == text


@pytest.mark.parametrize('option', ['--schema', '--tools', '--grammar'])
@pytest.mark.parametrize('name', ['nothing.json', '/', '~nobody-of-that-name/x', 'a\0b'])
def test_a_file_that_cannot_be_read_is_named_with_its_option(
        option: str, name: str, parsed: dict[str, Any],
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['ask', 'MODEL', 'What?', option, name]) == 2
    assert_one_line(capsys.readouterr().err, 'cannot be read', option)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of a parser's verbs, and those of theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield child
                yield from parsers(child)


def test_every_option_that_takes_a_value_tells_its_default() -> None:
    told = 0
    for parser in parsers(make_parser()):
        for action in parser._actions:
            if action.option_strings and action.nargs != 0 and \
                    action.help not in (None, argparse.SUPPRESS):
                assert isinstance(parser._get_formatter(), HelpFormatter)
                text = parser._get_formatter()._expand_help(action)
                assert 'default' in text, (parser.prog, action.option_strings)
                told += 1
        parser.format_help()
    assert told > 80


def test_context_is_one_name_in_every_verb_that_opens_a_model() -> None:
    defaults = {parser.prog: parser.get_default('context') for parser in parsers(make_parser())
                if 'model' in [action.dest for action in parser._actions]
                and parser.prog != 'lfm prepare'}
    assert defaults == {'lfm inspect': 0, 'lfm score': 0, 'lfm ask': 4096, 'lfm chat': 4096,
                        'lfm bench': 0, 'lfm replay': 4096, 'lfm serve': 4096}
    old = make_parser('bench').parse(['bench', 'MODEL', '--context-length', '64'], VERBS)
    assert old.context == 64


def test_the_context_that_is_asked_for_is_opened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(folder()), '--json', '--context', '128']) == 0
    assert json.loads(capsys.readouterr().out)['context_length'] == 128
    assert main(['score', str(folder()), '--context', '16', '--ids', '1,' * 20]) == 2
    assert_one_line(capsys.readouterr().err, '20 tokens', 'the context has 16')


def test_the_version_is_told() -> None:
    done = lfm('--version')
    assert done.returncode == 0 and done.stdout.startswith('lfm_ros 0.')


@pytest.mark.parametrize('line, words', [
    ('asc MODEL What?', ("no verb 'asc'", "mean 'ask'")), ('dance', ('inspect', 'doctor')),
    ('', ('give a verb', 'chat')), ('--json ask MODEL What?', ('--json', 'behind')),
    ('ask MODEL What? --temprature 1', ("'--temprature'", "mean '--temperature'")),
    ('ask MODEL What? --temprature=1', ("'--temprature'", "mean '--temperature'")),
    ('ask MODEL Go to waypoint 7', ("'to'", 'quotes')), ('inspect', ('MODEL',)),
    ('ask MODEL What? --max-tokens 2.5', ('--max-tokens', 'not a whole number')),
    ('ask MODEL What? --max-tokens 1e3', ('--max-tokens', 'not a whole number')),
    ('ask MODEL What? --timeout 5s', ('--timeout', 'not a number')),
    ('ask MODEL What? --mission', ('--mission', 'expected one argument')),
    ('bench MODEL --round 1.5', ('--rounds', 'not a whole number')),
    ('missions lst', ('lst', 'list')), ('missions list --missions-dri x', ('--missions-dir',)),
    ('missions export a', ('FILE',)), ('prepare MODEL', ('OUT',)), ('doctor x', ("'x'",)),
    ('top --nod', ('expected one argument',)), ('chat MODEL --overflow dance', ('refuse',))])
@pytest.mark.parametrize('json_wanted', [False, True])
def test_a_mistake_is_answered_with_the_verb_and_advice_also_in_json(
        line: str, words: tuple[str, ...], json_wanted: bool,
        capsys: pytest.CaptureFixture[str]) -> None:
    argv = line.split() + (['--json'] if json_wanted else [])
    assert main(argv) == 2
    printed = capsys.readouterr()
    verb = argv[0] if argv and argv[0] in VERBS else ''
    assert_one_line(printed.err, f'lfm {verb}'.rstrip() + ': ', *words, '--help')
    if json_wanted or '--json' in line:
        found = json.loads(printed.out)
        assert found['error_code'] == ErrorCode.INVALID_VALUE
        assert printed.err == f'lfm {verb}'.rstrip() + f': {found["error_msg"]}\n'
    else:
        assert printed.out == ''


@pytest.mark.parametrize('verb', ['ask', 'chat'])
def test_an_answer_in_json_has_one_shape_whatever_is_wrong(
        verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = ['What?'] if verb == 'ask' else []
    found = []
    for arguments in ([], ['/nowhere', *text], [str(folder()), *text, '--max-tokens', 'x'],
                      [str(folder()), *text, '--context', '7'],
                      [str(folder()), *text, '--mission', '../x'],
                      [str(folder()), *text, '--max-tokens', '2']):
        lines = lfm(verb, *arguments, '--json', stdin=b'What?\n').stdout.splitlines()
        found += [json.loads(line) for line in lines]
    assert [answer['error_code'] for answer in found] == [103, 300, 103, 103, 106, 0]
    shapes = {(tuple(answer), tuple(answer['usage'])) for answer in found}
    assert len(shapes) == 1
    assert [answer['finish_reason'] for answer in found] == ['error'] * 5 + ['length']


def test_what_a_double_dash_follows_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['ask', '/nowhere', '--', '--json']) == 2
    assert capsys.readouterr().out == ''


def test_a_failure_that_nothing_foresaw_is_json_too(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise FileNotFoundError(2, 'No such file or directory', '/gone')

    monkeypatch.setattr('lfm_ros.cli.doctor.run', fail)
    assert main(['doctor', '--json']) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)['error_code'] == ErrorCode.STORAGE_FAILED
    assert_one_line(printed.err, '/gone cannot be used')
