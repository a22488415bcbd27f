# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
What every verb prints in the same way.

Names, texts and errors come from missions, models and nodes. On a terminal a control character
in them could move the cursor, colour, or type: all that is printed goes through here.
"""
from __future__ import annotations

import json
import sys
from typing import Any
from typing import TextIO
from unicodedata import category

from lfm_ros.cli.option_names import with_option_names
from lfm_ros.plain_log import PlainFormatter

# Controls, formats (some of them turn the direction of a line), surrogates, separators of lines.
_HIDDEN = ('Cc', 'Cf', 'Cs', 'Zl', 'Zp')
_JOINERS = '\u200c\u200d'  # Persian and emoji are written with them
_LAYOUT = '\n\t'


class LogFormatter(PlainFormatter):
    """Writes lines of the log as sentences of the command."""

    def formatMessage(self, record: Any) -> str:  # noqa: N802 (of logging)
        """Return the line of a record."""
        return with_option_names(super().formatMessage(record))


def visible(text: str, layout: str = _LAYOUT) -> str:
    """
    Return text from outside so that a terminal shows all of it and does nothing else.

    Control characters become what :func:`repr` would write for them.

    :param layout: controls that stay.
    """
    return ''.join(c.encode('unicode_escape').decode() if _is_hidden(c) and c not in layout else c
                   for c in text)


def print_text(text: str = '', end: str = '\n', file: TextIO | None = None,
               flush: bool = False) -> None:
    """Print text from outside, or with such text in it; controls made visible."""
    print(visible(text), end=end, file=file, flush=flush)


def print_error(prog: str, sentence: str) -> None:
    """Print what the command has to say, with its options in place of the node's names."""
    print_text(f'{prog}: {with_option_names(sentence)}', file=sys.stderr)


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    # JSON itself allows all controls but those of ASCII.
    print(''.join(json.dumps(c)[1:-1] if _is_hidden(c) else c for c in text), flush=True)


def _is_hidden(character: str) -> bool:
    return category(character) in _HIDDEN and character not in _JOINERS
