# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What comes from missions, models and nodes is text on a terminal and nothing else."""
import ast
from contextlib import closing
import json
import logging
from pathlib import Path

from lfm_ros.cli import ask
from lfm_ros.cli.main import main
from lfm_ros.cli.main import make_parser
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import visible
from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.entry import OBSERVATION
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.errors import few
from lfm_ros.plain_log import PlainFormatter
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import TextDelta
from lfm_ros.storage.log import MissionLog
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Clears the screen, sets the title, in 8 bits too; goes back in the line; turns it around.
TRICKS = 'a\x1b[2Jb\x1b]0;owned\x07c\x9b31md\re\x08f\x7fg\u202eh\u2028i\x00j'
SHOWN = 'a\\x1b[2Jb\\x1b]0;owned\\x07c\\x9b31md\\re\\x08f\\x7fg\\u202eh\\u2028i\\x00j'
PRINTING = [*sorted((ROOT / 'lfm_ros' / 'cli').glob('*.py')),
            *sorted((ROOT / 'lfm_ros' / 'ros2lfm').glob('*.py')),
            *sorted((ROOT / 'examples').glob('*.py'))]
# The place itself; a line that hides another, with visible(); what goes into a pipe.
PLAIN_PRINTS = {'output.py': 2, 'bench_child.py': 2, 'bench_measure.py': 1}


@pytest.fixture
def place(tmp_path):
    """Return a folder with a mission in which tricks were said."""
    told = Transcript('m', 'f' * 64)
    for kind in (HEAD, OBSERVATION, 'turn'):
        told.push([1, 2], [2])
        told.add(kind, f'{kind}: {TRICKS}\nsecond line', f'answer: {TRICKS}', TRICKS)
    with closing(MissionLog(tmp_path / 'missions.db')) as log:
        log.write(told)
    return tmp_path


def harmless(text):
    """Tell whether a terminal does nothing but show a text."""
    return all(c.isprintable() or c in '\n\t' for c in text)


def test_controls_become_visible_and_all_that_is_text_stays():
    assert visible(TRICKS) == SHOWN
    text = 'Grüße\tan «alle»,\n日本語 नमस्ते می\u200cخواهم 👩\u200d🚀 1\u00a0000\u3000x'
    assert visible(text) == text
    assert visible('a\nb\tc', layout='') == 'a\\nb\\tc'
    assert visible('\udcff') == '\\udcff'


def test_a_mission_is_shown_without_its_controls(place, capsys):
    for verb in (['show', 'm'], ['list']):
        assert main(['missions', '--missions-dir', str(place), *verb]) == 0
        printed = capsys.readouterr()
        assert harmless(printed.out) and not printed.err
        if verb[0] == 'show':
            assert printed.out.count(SHOWN) == 5
            assert printed.out.count('\nsecond line') == 3


def test_json_holds_the_same_text_without_a_control_in_it(place, capsys):
    assert main(['missions', '--missions-dir', str(place), 'show', 'm', '--json']) == 0
    printed = capsys.readouterr().out
    assert harmless(printed) and printed.count('\n') == 1
    assert json.loads(printed)['turns'][0]['text'] == f'answer: {TRICKS}'
    print_json({TRICKS: 'é😀\U000e0041'})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {TRICKS: 'é😀\U000e0041'} and 'é😀' in printed


class Talk:
    """A scheduler whose model plays tricks."""

    running = None

    def submit(self, query, on_delta):
        """Answer at once."""
        on_delta(TextDelta('', 'm', 0, TRICKS, True))
        return self

    def wait(self):
        """Return what a failed answer is."""
        return Answer('', 'm', TRICKS, TRICKS, error_code=200, error_msg=TRICKS)


def test_an_answer_and_its_error_are_shown_without_controls(capsys):
    arguments = make_parser().parse_args(['ask', 'demo', 'What?'])
    answer = ask.ask(Talk(), arguments, 'What?')
    ask.report(answer, arguments)
    printed = capsys.readouterr()
    assert printed.out == f'{SHOWN}\n' and printed.err == f'lfm ask: {SHOWN}\n'


def test_errors_and_logs_are_shown_without_controls(tmp_path, capsys):
    assert main(['missions', '--missions-dir', str(tmp_path / '\x1b[2J'), 'list']) == 2
    printed = capsys.readouterr()
    assert harmless(printed.err) and '\\x1b[2J' in printed.err
    assert main(['\x1b[2J']) == 2
    assert harmless(capsys.readouterr().err)
    record = logging.LogRecord('x', logging.WARNING, '', 0, 'damaged: %s', ('\x1b[2J',), None)
    assert PlainFormatter('lfm: %(message)s').format(record) == 'lfm: damaged: \\x1b[2J'


@pytest.mark.parametrize('file', PRINTING, ids=lambda file: f'{file.parent.name}/{file.name}')
def test_everything_is_printed_in_the_one_place_that_knows_of_controls(file):
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    prints = [call for call in calls if isinstance(call.func, ast.Name)
              and call.func.id == 'print']
    writes = [call for call in calls if ast.unparse(call.func) in (
        'sys.stdout.write', 'sys.stderr.write', 'stdout.write')]
    assert len(prints) == PLAIN_PRINTS.get(file.name, 0) and not writes


def test_names_in_a_message_are_few(place, capsys):
    with closing(MissionLog(place / 'missions.db')) as log:
        for number in range(1000):
            told = Transcript(f'{number:04}' + 'x' * 124, 'f' * 64)
            told.push([1], [1])
            told.add(HEAD)
            log.write(told)
    assert main(['missions', '--missions-dir', str(place), 'show', 'nobody']) == 2
    printed = capsys.readouterr().err
    assert len(printed) < 1000 and '996 more' in printed
    assert few('abc') == few(['a', 'b', 'c']) == 'a, b, c' and few([]) == ''
    assert few('abcdefg') == 'a, b, c, d, e, ... and 2 more'
