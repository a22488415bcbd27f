# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ask a model once and stream its answer."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace
from typing import Any

from lfm_ros.cli.format_options import add_format_arguments
from lfm_ros.cli.format_options import format_fields
from lfm_ros.cli.format_options import print_calls
from lfm_ros.cli.inputs import given_text
from lfm_ros.cli.option_names import with_option_names
from lfm_ros.cli.options import add_talk_arguments
from lfm_ros.cli.options import open_scheduler
from lfm_ros.cli.options import read_images
from lfm_ros.cli.output import print_error
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.engine.decoding.generation import STOP
from lfm_ros.engine.decoding.generation import TOOL_CALLS
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.answer import TextDelta
from lfm_ros.serving.query import Query
from lfm_ros.serving.scheduler import Scheduler


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('text', nargs='?', help='the prompt; - reads it from standard input; '
                        'optional with --tool-result')
    add_talk_arguments(parser)
    add_format_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the question."""
    text = _prompt(arguments)
    fields = format_fields(arguments)
    with open_scheduler(arguments) as scheduler:
        answer = ask(scheduler, arguments, text, read_images(arguments.image), **fields)
    answer = with_storage_error(answer, scheduler)  # missions are kept by then, or are not
    status = report(answer, arguments)
    if not arguments.json:
        print_calls(answer, arguments.choice)
    return status


def failure(arguments: argparse.Namespace, code: int, message: str) -> dict[str, Any]:
    """Return what --json prints when nothing could be asked."""
    return asdict(Answer('', getattr(arguments, 'mission', ''), error_code=int(code),
                         error_msg=message))


def _prompt(arguments: argparse.Namespace) -> str:
    """Return the text to send, and leave the choices as a list of texts."""
    text, groups = arguments.text, arguments.choice
    count = sum(map(len, groups))
    needed = not (arguments.tool_result or arguments.raw)
    if text is None and needed and count > 2 and len(groups[-1]) > 1:
        # --choice yes no "Is it open?"
        text = groups[-1].pop()
        print_error(arguments.prog, f"the prompt is '{text}', the last text behind --choice")
    arguments.choice = [choice for group in groups for choice in group]
    if text is None and needed:
        raise LfmError(ErrorCode.EMPTY_PROMPT, 'there is no prompt: give one in quotes, or - to '
                       'read it from standard input')
    return given_text(text or '')


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
        print_error(arguments.prog, notice)
    form = fields['response_format'].name if 'response_format' in fields else ''
    return replace(answer, error_msg=with_option_names(answer.error_msg, form))


def report(answer: Answer, arguments: argparse.Namespace) -> int:
    """Print what is left to say about an answer; return the exit status."""
    if arguments.json:
        print_json(asdict(answer))
    elif answer.text:
        print_text()
    if answer.error_code:
        print_error(arguments.prog, answer.error_msg)
        return 2 if answer.error_code < 200 else 1
    if answer.finish_reason not in (STOP, TOOL_CALLS):
        print_error(arguments.prog, f'the answer was cut ({answer.finish_reason})')
    if answer.usage.forgotten_tokens:
        print_error(arguments.prog, 'the oldest turns were forgotten to make room '
                    f'({answer.usage.forgotten_tokens} tokens)')
    return 0


def with_storage_error(answer: Answer, scheduler: Scheduler) -> Answer:
    """Return an answer that also says when it could not be kept."""
    reason = scheduler.store.storage.durability_error
    if answer.error_code or not reason:
        return answer
    return replace(answer, error_code=int(ErrorCode.STORAGE_FAILED),
                   error_msg=with_option_names(reason))
