# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Draw the picture of README.md from the output of `make demo`.

    make demo > demo.log && python tools/draw_demo.py < demo.log > docs/demo.svg

It shows the first lines of the paragraphs named in SHOWN, as they were printed; "…" marks what is
left out. Needs the Python package rich (see CONTRIBUTING.md).
"""
from __future__ import annotations

from collections.abc import Iterator
import io
import re
import sys

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

WIDTH = 114  # columns
MORE = '    …'
# The beginning of a paragraph, and how many of its lines to show.
SHOWN = {'Starting': 2, 'Topic ~/prompt': 7, 'Topic ~/observe': 2, 'Service ~/ask': 5, 'Tools': 5,
         'Topic ~/image': 3, 'Cancel': 2, 'Power loss': 2, 'Every mission': 3}
FONT = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"


def chosen(transcript: str) -> Iterator[str]:
    """Give the lines of the picture."""
    cut = first = False
    for paragraph in transcript.strip().split('\n\n'):
        lines = paragraph.split('\n')
        count = next((n for begin, n in SHOWN.items() if lines[0].startswith(begin)), 0)
        if count and first:
            yield from (MORE, '') if cut else ('',)
        yield from lines[:count]
        first, cut = first or count > 0, count < len(lines)
    if cut:
        yield MORE


def styled(line: str) -> Text:
    """Return a line as it is drawn: headings bold, prompts coloured, figures dimmed."""
    if len(line) > WIDTH:
        line = line[:WIDTH - 1] + MORE.strip()
    text = Text(line, style='bold' if line[:1].strip() else '')
    text.highlight_regex(re.compile('^    > .*'), 'cyan')
    text.highlight_regex(re.compile(r'    \[.*|^    …$'), 'dim')
    return text


def svg(transcript: str) -> str:
    """Return the picture of a transcript."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), legacy_windows=False)
    for line in chosen(transcript):
        console.print(styled(line), soft_wrap=True)
    drawn = console.export_svg(title='make demo', theme=MONOKAI, unique_id='demo')
    # A picture in a README must not load fonts from elsewhere.
    drawn = re.sub(r'@font-face \{.*?\}\s*', '', drawn, flags=re.DOTALL)
    return drawn.replace('Fira Code, monospace', FONT).replace('Fira Code', FONT)


if __name__ == '__main__':
    sys.stdout.write(svg(sys.stdin.read()) + '\n')
