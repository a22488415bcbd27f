# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Write the tables of README.md that come from the code.

    python tools/document.py [--check]

Run it in an environment with lfm_ros (`make setup`). --check changes nothing and fails when the
tables are not up to date; a test does that.
"""
import json
from pathlib import Path
import sys

from lfm_ros.node.parameters import Spec
from lfm_ros.node.parameters import SPECS

README = Path(__file__).resolve().parents[1] / 'README.md'
BEGIN, END = '<!-- parameters -->\n', '<!-- end of parameters -->'


def parameter_table() -> str:
    """Return the table of parameters in Markdown."""
    rows = ['| parameter | default | range | |', '|---|---|---|---|']
    for spec in SPECS:
        rows.append(f'| `{spec.name}` | `{json.dumps(spec.default)}` | {limits(spec)} | '
                    f'{spec.description} |')
    return '\n'.join(rows) + '\n'


def limits(spec: Spec) -> str:
    """Return the range or the choices of a parameter."""
    if spec.low is None or spec.high is None:
        return ', '.join(spec.choices)
    if spec.high >= 1 << 62:
        return f'{spec.low} or more'
    return f'{spec.low} to {spec.high}'


def updated(text: str) -> str:
    """Return the text of README.md with fresh tables."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + parameter_table() + END + tail


def main() -> int:
    """Write or check; return the exit status."""
    text = README.read_text(encoding='utf-8')
    fresh = updated(text)
    if '--check' in sys.argv:
        if fresh != text:
            print('README.md is not up to date: run python tools/document.py', file=sys.stderr)
        return int(fresh != text)
    README.write_text(fresh, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
