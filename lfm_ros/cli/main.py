# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `lfm`: run an LFM2 model in ONNX, without ROS; watch a node that runs one."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import errno
from importlib import import_module
import io
from itertools import takewhile
import logging
import os
import sys
from types import ModuleType

from lfm_ros.cli.arguments import HelpFormatter
from lfm_ros.cli.arguments import Parser
from lfm_ros.cli.option_names import with_option_names
from lfm_ros.cli.output import LogFormatter
from lfm_ros.cli.output import print_error
from lfm_ros.cli.output import print_json
from lfm_ros.cli.version import PACKAGE
from lfm_ros.cli.version import version
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

# The module of each verb; only that of the verb which is run is imported: `lfm missions list`
# needs neither ONNX Runtime nor a tokenizer.
VERBS = {'inspect': 'inspect', 'score': 'score', 'ask': 'ask', 'chat': 'chat',
         'missions': 'missions', 'replay': 'replay.command', 'bench': 'bench.command',
         'prepare': 'prepare', 'top': 'top.command', 'doctor': 'doctor', 'serve': 'serve'}
_WITHOUT_MODEL_ARGUMENTS = ('missions', 'replay', 'prepare', 'top', 'doctor')

_WORK_FAILED = 1
_BAD_USE = 2


def make_parser(verb: str = '') -> Parser:
    """
    Return the parser of the command line.

    :param verb: the only one whose arguments are known to it; empty: all of them.
    """
    parser = Parser(prog='lfm', description='Run an LFM2 model exported to ONNX. MODEL is a '
                    "folder, an .onnx file, or 'demo' for the model in this package.")
    parser.add_argument('--version', action='version', help='print the version and exit',
                        version=f'{PACKAGE} {version() or "of unknown version"}')
    verbs = parser.add_subparsers(metavar='VERB', required=True)
    for name in VERBS:
        if verb and verb != name:
            verbs.add_parser(name)
            continue
        module = _module(name)
        text = (module.__doc__ or '').strip()
        child = verbs.add_parser(name, help=text.splitlines()[0].rstrip('.'), description=text,
                                 formatter_class=HelpFormatter)
        if name not in _WITHOUT_MODEL_ARGUMENTS:
            import_module('lfm_ros.cli.options').add_model_arguments(child)
        child.add_argument('--json', action='store_true', help='print one JSON object')
        module.add_arguments(child)
        child.set_defaults(run=module.run, prog=f'lfm {name}')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='replace')  # a terminal without UTF-8, a name that is none
    argv = sys.argv[1:] if argv is None else list(argv)
    verb = argv[0] if argv and argv[0] in VERBS else ''
    prog = f'lfm {verb}'.rstrip()
    if logging.lastResort:  # what the missions have to say goes to stderr
        logging.lastResort.setFormatter(LogFormatter(f'{prog}: %(message)s'))
    # What cannot be parsed is told in JSON, too.
    arguments = argparse.Namespace(json='--json' in takewhile('--'.__ne__, argv))
    try:
        try:
            arguments = make_parser(verb).parse(argv, VERBS)
            status = arguments.run(arguments)
        except LfmError as error:
            status = _failed(verb, arguments, error)
        except KeyboardInterrupt:
            status = _failed(verb, arguments, LfmError(ErrorCode.CANCELLED, 'interrupted'))
        except OSError as error:
            if error.filename is None:
                raise
            status = _failed(verb, arguments, LfmError(
                ErrorCode.STORAGE_FAILED, f'{error.filename} cannot be used ({error.strerror}): '
                'check the file and its disk'))
        if sys.stdout is None:  # it was closed before we began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        sys.stdout.flush()  # at the exit it would be too late to say what is wrong
        return status
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # else the reader has seen enough
            print_error(prog, f'the output cannot be written ({error.strerror}): redirect it '
                        'elsewhere')
        # What is still buffered goes nowhere, or Python would complain at its end.
        if sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _WORK_FAILED


def _failed(verb: str, arguments: argparse.Namespace, error: LfmError) -> int:
    """Say what is wrong; return the exit status."""
    if arguments.json:
        shape = getattr(_module(verb), 'failure', None) if verb else None
        message = with_option_names(error.message)
        print_json(shape(arguments, error.code, message) if shape else
                   {'error_code': int(error.code), 'error_msg': message})
    print_error(f'lfm {verb}'.rstrip(), error.message)
    return _BAD_USE if error.code < 200 or 300 <= error.code < 400 else _WORK_FAILED


def _module(verb: str) -> ModuleType:
    return import_module(f'lfm_ros.cli.{VERBS[verb]}')


if __name__ == '__main__':
    sys.exit(main())
