# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Chat with a model; it remembers the conversation.

/image FILE adds an image to the next question, /reset forgets everything, /undo removes the last
turn, ctrl-C stops an answer, ctrl-D quits.
"""
from __future__ import annotations

import argparse
import io
import sys

from lfm_ros.cli import ask
from lfm_ros.cli.options import add_talk_arguments
from lfm_ros.cli.options import open_scheduler
from lfm_ros.cli.options import read_images
from lfm_ros.cli.output import print_text
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.errors import LfmError
from lfm_ros.serving.scheduler import Scheduler

_HELP = (__doc__ or '').partition('\n\n')[2].strip()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    add_talk_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read lines and answer them until the input ends."""
    with open_scheduler(arguments) as scheduler:
        status = _talk(scheduler, arguments)
    return max(status, ask.kept(scheduler))


def _talk(scheduler: Scheduler, arguments: argparse.Namespace) -> int:
    person = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors='surrogateescape')  # refused as a prompt, not a traceback
    if person:
        import readline  # noqa: F401  (gives input() its line editing)
        print_text(f'{scheduler.store.model.name}: {_HELP}',
                   file=sys.stderr)
    status, images = 0, [*read_images(arguments.image)]
    while True:
        try:
            line = input('> ' if person else '')
        except EOFError:
            return status
        except KeyboardInterrupt:
            print_text()
            continue
        if line.startswith('/'):
            _command(scheduler, arguments, line, images)
        elif line.strip():
            status = max(status, ask.report(ask.ask(scheduler, arguments, line, images),
                                            arguments))
            images.clear()


def _command(scheduler: Scheduler, arguments: argparse.Namespace, line: str,
             images: list[EncodedImage]) -> None:
    store, mission = scheduler.store, arguments.mission
    try:
        if line == '/reset':
            scheduler.submit_job(lambda: store.reset(mission), mission).result()
        elif line == '/undo':
            scheduler.submit_job(lambda: store.rewind(
                mission, max(0, len(store.get(mission).turns) - 1)), mission).result()
        elif line.startswith('/image '):
            images.extend(read_images([line.removeprefix('/image ').strip()]))
        else:
            print_text(f"{arguments.prog}: '{line}' is not a command: use /image FILE, /reset or "
                       '/undo', file=sys.stderr)
    except LfmError as error:
        print_text(f'{arguments.prog}: {error.message}', file=sys.stderr)
