# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Chat with a model; it remembers the conversation.

/image FILE adds an image to the next question, /reset forgets everything, /undo removes the last
turn, /help prints this. Ctrl-C stops an answer; exit, /exit or ctrl-D quits. A question that
begins with a slash is written with a space before it.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
import io
from pathlib import Path
import shlex
import sys
from typing import Any

from lfm_ros.cli import ask
from lfm_ros.cli import completion
from lfm_ros.cli.options import add_talk_arguments
from lfm_ros.cli.options import open_scheduler
from lfm_ros.cli.options import read_images
from lfm_ros.cli.output import print_error
from lfm_ros.cli.output import print_text
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.scheduler import Scheduler

_HELP = (__doc__ or '').partition('\n\n')[2].strip()
COMMANDS = ('/image', '/reset', '/undo', '/help', '/exit')
_QUIT = ('/exit', '/quit', '/bye')

failure = ask.failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    add_talk_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read lines and answer them until the input ends."""
    with open_scheduler(arguments) as scheduler:
        status = Chat(scheduler, arguments).talk()
    return max(status, 1 if scheduler.store.storage.durability_error else 0)


class Chat:
    """One conversation, on a terminal or of the lines of a pipe."""

    def __init__(self, scheduler: Scheduler, arguments: argparse.Namespace) -> None:
        self._scheduler = scheduler
        self._arguments = arguments
        self._images: list[EncodedImage] = read_images(arguments.image)
        self._person = sys.stdin.isatty()

    def talk(self) -> int:
        """Answer until the input ends; return the exit status."""
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors='surrogateescape')  # refused, not a traceback
        if self._person:
            completion.install(COMMANDS)
            print_text(f'{self._scheduler.store.model.name}: {_HELP}', file=sys.stderr)
        status = 0
        while True:
            try:
                line = input('> ' if self._person else '')
            except EOFError:
                if self._person:
                    print_text()  # the shell begins a line of its own
                return status
            except KeyboardInterrupt:
                print_text()
                continue
            word = line.strip()
            if word in _QUIT or self._person and word in ('exit', 'quit'):
                return status
            if line.startswith('/'):
                self._command(*word.partition(' ')[::2])
            elif word:
                status = max(status, self._question(line))

    def _question(self, line: str) -> int:
        answer = ask.ask(self._scheduler, self._arguments, line, self._images)
        status = ask.report(ask.with_storage_error(answer, self._scheduler), self._arguments)
        if answer.error_code == ErrorCode.CANCELLED:  # as was wished; images wait for the next
            return 0
        self._images.clear()
        return status

    def _command(self, name: str, rest: str) -> None:
        try:
            if name == '/help':
                print_text(_HELP, file=sys.stderr)
            elif name == '/image':
                self._add_images(rest.strip())
            elif name in ('/reset', '/undo') and not rest:
                self._say(self._reset() if name == '/reset' else self._undo())
            else:
                near = get_close_matches(name, COMMANDS, 1)
                self._say(f"'{name} {rest}'".replace(" '", "'") + ' is not a command: '
                          + (f'did you mean {near[0]}?' if near and near[0] != name
                             else 'use ' + ', '.join(COMMANDS)))
        except LfmError as error:
            self._say(error.message)

    def _add_images(self, text: str) -> None:
        """Add the images of files whose names may be quoted, as a terminal drops them."""
        names = [text] if text else []
        with suppress(OSError, ValueError, RuntimeError):
            if not Path(text).expanduser().is_file():
                names = shlex.split(text)
        if not names:
            raise LfmError(ErrorCode.INVALID_IMAGE, 'no image is named: write /image FILE')
        self._images += read_images(names)
        count = len(self._images)
        self._say(f'{count} image{"s" if count > 1 else ""} will be sent with the next question')

    def _reset(self) -> str:
        count = len(self._on_model(_turns_of))
        if count:
            self._on_model(lambda store, name: store.reset(name))
        return f'the conversation was forgotten ({_turns(count)})'

    def _undo(self) -> str:
        turns = self._on_model(_turns_of)
        if not turns:
            return 'there is no turn to undo'
        question, left = turns[-1].prompt, len(turns) - 1
        self._on_model(lambda store, name: store.rewind(name, left))
        short = question if len(question) <= 60 else question[:57] + '...'
        return f"the turn '{short}' was undone ({_turns(left)} left)"

    def _on_model(self, work: Any) -> Any:
        """Do something with the mission in the thread of the model."""
        store, mission = self._scheduler.store, self._arguments.mission
        return self._scheduler.submit_job(lambda: work(store, mission), mission).result()

    def _say(self, sentence: str) -> None:
        print_error(self._arguments.prog, sentence)


def _turns_of(store: MissionStore, name: str) -> Sequence[Any]:
    """Return the turns of a mission, none if it has not begun."""
    return store.get(name).turns if name in store else ()


def _turns(count: int) -> str:
    return f'{count} turn{"" if count == 1 else "s"}'
