# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How command lines are read: arguments in any order, and mistakes answered with advice."""
from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from difflib import get_close_matches
import re
from typing import Any
from typing import NoReturn

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Leaves the description as it is, and gives the default of every option."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ''
        if not action.option_strings or action.nargs == 0 or 'default' in text:
            return text
        return f'{text} (default: %(default)s)' if action.default else \
            f'{text} (default: {"none" if action.default in (None, "", []) else 0})'


class Parser(argparse.ArgumentParser):
    """A parser of a command or a verb, which raises what is wrong as an LfmError."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._verbs: dict[str, Parser] = {}
        self.register('type', int, _whole_number)
        self.register('type', float, _number)

    def add_subparsers(self, **options: Any) -> Any:  # type: ignore[override]
        """Add verbs; those that are known can be found by their names."""
        action = super().add_subparsers(**options)
        self._verbs = action.choices
        return action

    def parse(self, argv: Sequence[str], verbs: Iterable[str]) -> argparse.Namespace:
        """
        Return the arguments of a command line.

        :param verbs: one of them comes first, but for --help and --version.
        :raises LfmError: INVALID_VALUE.
        """
        name = argv[0] if argv else ''
        if name in ('-h', '--help', '--version'):
            self.parse_args(argv[:1])  # prints it and exits
        if not name or name.startswith('-'):
            self.error(f"'{name}' stands before the verb: write it behind"
                       if set(argv) & set(verbs) else f'give a verb: {few(verbs, 20)}')
        if name not in verbs:
            near = get_close_matches(name, verbs, 1, 0.5)
            self.error(f"there is no verb '{name}': "
                       + (f"did you mean '{near[0]}'?" if near else few(verbs, 20)))
        child = self._verbs[name]
        # argparse knows no arguments in any order where there are verbs below.
        read = child.parse_known_args if child._verbs else child.parse_known_intermixed_args
        arguments, left = read(argv[1:])
        if left:
            child._refuse(left[0])
        return arguments

    def error(self, message: str) -> NoReturn:
        """
        Raise what is wrong.

        :raises LfmError: INVALID_VALUE.
        """
        message = re.sub(r'^argument (\S+): ', r'\1: ', message)
        raise LfmError(ErrorCode.INVALID_VALUE, f"{message}; see '{self.prog} --help'")

    def _refuse(self, text: str) -> NoReturn:
        if not text.startswith('-'):
            self.error(f"'{text}' is one argument too many: put a text with spaces into quotes")
        name = text.partition('=')[0]
        near = get_close_matches(name, self._option_string_actions, 1)
        self.error(f"there is no option '{name}'" + (f": did you mean '{near[0]}'?"
                                                     if near else ''))


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
