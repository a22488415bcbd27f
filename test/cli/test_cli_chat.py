# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm chat`: what a person types, what is said of it, and how it ends."""
from __future__ import annotations

from pathlib import Path
import readline
import subprocess
import sys

from lfm_ros.cli import completion
from lfm_ros.cli.chat import COMMANDS
from lfm_ros.engine.vision.image import encode
import numpy as np
import pytest
from support import environment
from support import folder
from support import lfm
from support import MODELS
from support import WAIT
from terminal import Terminal

QUICK = ('--temperature', '0', '--threads', '1', '--max-tokens', '4')
SEEING = MODELS / 'vision' / 'lfm2-vl-past-conv'  # runs on every ONNX Runtime


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Return a picture whose name has a space."""
    file = tmp_path / 'the dock.png'
    file.write_bytes(encode(np.zeros((40, 40, 3), np.uint8)))
    return file


def chat(*lines: str, model: Path | None = None) -> tuple[int, list[str]]:
    """Chat in a pipe; return the exit status and what was said beside the answers."""
    done = lfm('chat', model or folder(), *QUICK, stdin='\n'.join(lines).encode())
    assert 'Traceback' not in done.stderr
    return done.returncode, [line.removeprefix('lfm chat: ') for line in done.stderr.splitlines()
                             if 'was cut' not in line]


def test_what_a_command_did_is_said() -> None:
    status, said = chat('What?', 'Where?', '/undo', '/undo', '/undo', 'Who?', '/reset', '/reset ')
    assert status == 0
    assert said == ["the turn 'Where?' was undone (1 turn left)",
                    "the turn 'What?' was undone (0 turns left)", 'there is no turn to undo',
                    'the conversation was forgotten (1 turn)',
                    'the conversation was forgotten (0 turns)']


@pytest.mark.parametrize('line, words', [
    ('/dance', 'use /image'), ('/imgae x', 'did you mean /image?'), ('/undo 2', 'use /image'),
    ('/image', 'no image is named'), ('/image nothing.png', 'nothing.png cannot be read'),
    ('/image "half', '"half cannot be read'), ('/help', '/reset forgets'),
    ('/undo', 'there is no turn to undo'), ('/reset', 'forgotten (0 turns)')])
def test_a_command_that_is_none_is_answered_with_advice(line: str, words: str) -> None:
    status, said = chat(line)
    assert status == 0 and words in ' '.join(said)


@pytest.mark.parametrize('word', ['/exit', '/quit', '/exit '])
def test_a_word_ends_the_chat(word: str) -> None:
    done = lfm('chat', folder(), *QUICK, stdin=f'What?\n{word}\nWhere?\n'.encode())
    assert done.returncode == 0 and done.stdout.count('\n') == 1


def test_words_of_a_person_are_questions_in_a_pipe() -> None:
    done = lfm('chat', folder(), *QUICK, stdin=b'exit\n /home is full\n')
    assert done.returncode == 0 and done.stdout.count('\n') == 2


@pytest.mark.parametrize('written', ['{}', '"{}"', "'{}'", 'ESCAPED', '  "{}"  ', '"{}" "{}"'])
def test_images_are_named_as_a_terminal_drops_them(written: str, picture: Path) -> None:
    written = written.replace('ESCAPED', str(picture).replace(' ', '\\ '))
    status, said = chat(f'/image {written.format(picture, picture)}', 'What?', model=SEEING)
    count = '2 images' if written.count('"') == 4 else '1 image'
    assert (status, said) == (0, [f'{count} will be sent with the next question'])


INTERRUPT = """
from lfm_ros.cli import main
from lfm_ros.engine.runtime.runner import Runner
import os
import signal
import sys
import time
signal.signal(signal.SIGINT, signal.default_int_handler)
run, sent = Runner.run, []

def interrupted(self, state, ids, every=False, cancel_token=None, features=None):
    if not sent and cancel_token and state.position > 30:
        sent.append(os.kill(os.getpid(), signal.SIGINT))
        while not cancel_token.is_set:
            time.sleep(0.001)
    return run(self, state, ids, every, cancel_token)

Runner.run = interrupted
sys.exit(main.main())
"""


def test_an_answer_that_was_stopped_is_no_failure() -> None:
    done = subprocess.run(
        [sys.executable, '-c', INTERRUPT, 'chat', str(folder()), '--temperature', '0',
         '--max-tokens', '40'], input='What?\n/undo\nWhat?\n', env=environment(),
        capture_output=True, text=True, timeout=WAIT)
    stopped, nothing, *_ = done.stderr.splitlines()
    assert done.returncode == 0 and 'cancelled' in stopped
    assert 'undo' in nothing, 'the turn was rolled back'
    assert done.stdout.count('\n') == 2


def test_ctrl_d_leaves_a_new_line() -> None:
    with Terminal('chat', folder(), *QUICK) as terminal:
        terminal.read_until('exit', '> ')
        terminal.type('\x04')
        terminal.read_until('\r\n')
        assert terminal.process.wait(WAIT) == 0


@pytest.mark.parametrize('word', ['exit', 'quit', '/exit'])
def test_a_person_leaves_with_a_word(word: str) -> None:
    with Terminal('chat', folder(), *QUICK) as terminal:
        terminal.read_until('exit', '> ')
        terminal.type(f'{word}\n')
        assert terminal.process.wait(WAIT) == 0


def test_the_tab_key_completes_commands_and_paths(picture: Path) -> None:
    with Terminal('chat', SEEING, *QUICK) as terminal:
        terminal.read_until('exit', '> ')
        terminal.type(f'/im\t"{picture.parent}/the\t\n')
        terminal.read_until('the dock.png"', '1 image will be sent')


def test_lines_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'a [1].png').touch()
    (tmp_path / 'albums').mkdir()

    def found(line: str) -> list[str]:
        return completion.candidates(line, COMMANDS)

    assert found('/') == ['/image ', '/reset', '/undo', '/help', '/exit']
    assert found('/un') == ['/undo'] and found('un') == found('/undo x') == found('') == []
    assert found('/image ~/a') == ['/image ~/a [1].png', '/image ~/albums/']
    assert found(f'/image "{tmp_path}/a [') == [f'/image "{tmp_path}/a [1].png"']
    assert found('/image /nothing/x') == []


def test_without_line_editing_there_is_no_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    before = readline.get_completer()
    monkeypatch.setitem(sys.modules, 'readline', None)
    completion.install(COMMANDS)
    assert readline.get_completer() is before
