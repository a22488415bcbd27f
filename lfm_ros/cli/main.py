# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `lfm`: run an LFM2 model in ONNX, without ROS; watch a node that runs one."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import errno
from importlib import import_module
import io
import logging
import os
import sys
from typing import NoReturn

from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.errors import LfmError
from lfm_ros.plain_log import PlainFormatter

# The module of each verb; only that of the verb which is run is imported: `lfm missions list`
# needs neither ONNX Runtime nor a tokenizer.
VERBS = {'inspect': 'inspect', 'score': 'score', 'ask': 'ask', 'chat': 'chat',
         'missions': 'missions', 'bench': 'bench.command', 'prepare': 'prepare',
         'top': 'top.command', 'doctor': 'doctor'}
_WITHOUT_MODEL_ARGUMENTS = ('missions', 'prepare', 'top', 'doctor')

_WORK_FAILED = 1
_BAD_USE = 2


class _Parser(argparse.ArgumentParser):

    def error(self, message: str) -> NoReturn:
        print_text(f"{self.prog}: {message}; see '{self.prog} --help'", file=sys.stderr)
        sys.exit(_BAD_USE)


def make_parser(verb: str = '') -> argparse.ArgumentParser:
    """
    Return the parser of the command line.

    :param verb: the only one whose arguments are known to it; empty: all of them.
    """
    parser = _Parser(prog='lfm', description='Run an LFM2 model exported to ONNX. MODEL is a '
                     "folder, an .onnx file, or 'demo' for the model in this package.")
    verbs = parser.add_subparsers(metavar='VERB', required=True)
    for name, path in VERBS.items():
        if verb and verb != name:
            verbs.add_parser(name)
            continue
        module = import_module(f'lfm_ros.cli.{path}')
        text = (module.__doc__ or '').strip()
        child = verbs.add_parser(name, help=text.splitlines()[0].rstrip('.'), description=text,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
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
    arguments = make_parser(argv[0] if argv and argv[0] in VERBS else '').parse_args(argv)
    if logging.lastResort:  # what the missions have to say goes to stderr
        logging.lastResort.setFormatter(PlainFormatter(f'{arguments.prog}: %(message)s'))
    try:
        status = arguments.run(arguments)
        if sys.stdout is None:  # it was closed before we began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        sys.stdout.flush()  # at the exit it would be too late to say what is wrong
        return status
    except LfmError as error:
        if arguments.json:
            print_json({'error_code': int(error.code), 'error_msg': error.message})
        print_text(f'{arguments.prog}: {error.message}', file=sys.stderr)
        return _BAD_USE if error.code < 200 or 300 <= error.code < 400 else _WORK_FAILED
    except BrokenPipeError:  # the reader has seen enough
        _drop_output()
        return _WORK_FAILED
    except OSError as error:
        print_text(f'{arguments.prog}: the output cannot be written ({error.strerror}): redirect '
                   'it elsewhere', file=sys.stderr)
        _drop_output()
        return _WORK_FAILED
    except KeyboardInterrupt:
        print_text(f'{arguments.prog}: interrupted', file=sys.stderr)
        return _WORK_FAILED


def _drop_output() -> None:
    """Let what is still buffered go nowhere, or Python would complain at its end."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == '__main__':
    sys.exit(main())
