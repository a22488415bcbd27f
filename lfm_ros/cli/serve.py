# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Serve a model to programs that speak OpenAI's interface."""
from __future__ import annotations

import argparse

from lfm_ros.cli.options import add_sampling_arguments
from lfm_ros.cli.options import add_vision_arguments
from lfm_ros.cli.options import check_answer_arguments
from lfm_ros.cli.options import open_model
from lfm_ros.cli.options import scheduler_of
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.engine.model_options import DEFAULT_CONTEXT
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

DEFAULT_MAX_TOKENS = 1024
MAX_PARALLEL = 64
MAX_QUEUE = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('--host', default='127.0.0.1', metavar='ADDRESS', help='address to listen '
                        'on; one that other machines reach needs a key')
    parser.add_argument('--port', type=int, default=8000, metavar='N', help='0: a free one')
    parser.add_argument('--key-file', metavar='FILE', help='file with the key that clients must '
                        'send')
    parser.add_argument('--name', default='', metavar='NAME', help='of the model for clients; '
                        'default: that of its folder')
    parser.add_argument('--system', default='', metavar='TEXT', help='system prompt of '
                        "conversations that have none; default: the chat template's")
    parser.add_argument('--conversations', type=int, default=16, metavar='N', help='conversations '
                        'that are kept to go on with')
    parser.add_argument('--parallel', type=int, default=4, metavar='N',
                        help='answers at once, as queue.parallel of the node')
    parser.add_argument('--queue', type=int, default=32, metavar='N',
                        help='requests that may wait')
    parser.add_argument('--max-tokens', type=int, default=DEFAULT_MAX_TOKENS, metavar='N',
                        help='maximum length of an answer whose request names none')
    add_vision_arguments(parser)
    add_sampling_arguments(parser)
    parser.set_defaults(context=DEFAULT_CONTEXT)


def run(arguments: argparse.Namespace) -> int:
    """Serve until it is told to end."""
    _check(arguments)
    try:
        from lfm_ros.http.app import make_app
        from lfm_ros.http.app import Settings
        from lfm_ros.http.engine_backend import EngineBackend
        from lfm_ros.http.guard import Limits
        from lfm_ros.http.server import hosts_of
        from lfm_ros.http.server import listen
        from lfm_ros.http.server import read_key
        from lfm_ros.http.server import serve
        from lfm_ros.http.server import url_of
    except ImportError as error:
        raise LfmError(ErrorCode.UNSUPPORTED, f'the Python package {error.name} is missing: '
                       'install fastapi and uvicorn') from error
    key = read_key(arguments.key_file) if arguments.key_file else ''
    sock = listen(arguments.host, arguments.port, key)  # before the model takes its time
    with sock, scheduler_of(open_model(arguments), arguments, queue_size=arguments.queue,
                            parallel=arguments.parallel) as scheduler:
        backend = EngineBackend(scheduler, arguments.name)
        found = {'url': url_of(sock), 'model': backend.model.name}

        def ready() -> None:
            if arguments.json:
                print_json(found)
            else:
                print_text(f'{found["model"]} is served at {found["url"]}; end with ctrl-C',
                           flush=True)

        serve(make_app(backend, Settings(arguments.max_tokens, arguments.conversations, Limits(
            key, hosts=hosts_of(arguments.host)))), sock, ready)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    check_answer_arguments(arguments)
    for name, most in (('conversations', MAX_QUEUE), ('parallel', MAX_PARALLEL),
                       ('queue', MAX_QUEUE)):
        value = getattr(arguments, name)
        if not 1 <= value <= most:
            raise LfmError(ErrorCode.INVALID_VALUE, f'--{name} is {value}: set it between 1 and '
                           f'{most}')
