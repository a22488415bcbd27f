# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ask a model once and stream its answer."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
import sys
from typing import Any

from lfm_ros.cli.format_options import add_format_arguments
from lfm_ros.cli.format_options import format_fields
from lfm_ros.cli.format_options import print_calls
from lfm_ros.cli.options import add_talk_arguments
from lfm_ros.cli.options import open_scheduler
from lfm_ros.cli.options import read_images
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.engine.decoding.generation import STOP
from lfm_ros.engine.decoding.generation import TOOL_CALLS
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import TextDelta
from lfm_ros.serving.query import Query
from lfm_ros.serving.scheduler import Scheduler


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('text', nargs='?', default='', help='the prompt; optional with '
                        '--tool-result')
    add_talk_arguments(parser)
    add_format_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the question."""
    with open_scheduler(arguments) as scheduler:
        answer = ask(scheduler, arguments, arguments.text, read_images(arguments.image),
                     **format_fields(arguments))
        status = report(answer, arguments)
    if not arguments.json:
        print_calls(answer, arguments.choice)
    return max(status, kept(scheduler))


def ask(scheduler: Scheduler, arguments: argparse.Namespace, text: str,
        images: Sequence[EncodedImage] = (), **fields: Any) -> Answer:
    """
    Ask one question; a keyboard interrupt cancels it and undoes the turn.

    :param fields: further fields of :class:`Query`.
    """
    query = Query(text, arguments.mission, max_tokens=arguments.max_tokens,
                  timeout=arguments.timeout, stop=tuple(arguments.stop),
                  images=tuple(images), **fields)
    failures: list[OSError] = []

    def show(delta: TextDelta) -> None:
        try:
            print_text(delta.text, end='', flush=True)
        except OSError as error:
            failures.append(error)
            if scheduler.running:
                scheduler.running.cancel()

    request = scheduler.submit(query, None if arguments.json else show)
    try:
        answer = request.wait()
    except KeyboardInterrupt:
        request.cancel()
        answer = request.wait()
    if failures:
        raise failures[0]
    for notice in {image.notice for image in images if image.notice}:
        print_text(f'{arguments.prog}: {notice}', file=sys.stderr)
    return answer


def report(answer: Answer, arguments: argparse.Namespace) -> int:
    """Print what is left to say about an answer; return the exit status."""
    if arguments.json:
        print_json(asdict(answer))
    elif answer.text:
        print_text()
    if answer.error_code:
        print_text(f'{arguments.prog}: {answer.error_msg}', file=sys.stderr)
        return 2 if answer.error_code < 200 else 1
    if answer.finish_reason not in (STOP, TOOL_CALLS):
        print_text(f'{arguments.prog}: the answer was cut ({answer.finish_reason})',
                   file=sys.stderr)
    if answer.usage.forgotten_tokens:
        print_text(f'{arguments.prog}: the oldest turns were forgotten to make room '
                   f'({answer.usage.forgotten_tokens} tokens)', file=sys.stderr)
    return 0


def kept(scheduler: Scheduler) -> int:
    """Return the exit status of storing the missions; a message has told what failed."""
    return 1 if scheduler.store.storage.durability_error else 0
