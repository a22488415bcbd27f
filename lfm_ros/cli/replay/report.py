# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `lfm replay` prints at its end."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
import statistics
from typing import Any

from lfm_ros.cli.output import print_text
from lfm_ros.replay.comparison import DIFFERENT
from lfm_ros.replay.comparison import EQUAL
from lfm_ros.replay.comparison import FAILED
from lfm_ros.replay.comparison import NEW

_VERDICTS = (EQUAL, DIFFERENT, FAILED, NEW)
_SPEED, _LATENCY = 'tokens_per_second', 'time_to_first_token'
_SHOWN = 10  # questions with other answers
_WIDTH = 160  # characters of an answer


def summary_of(bags: Sequence[str], lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """
    Return the counts and medians of each bag.

    Medians are over the questions that were answered both times, so that they can be compared.
    """
    return {'bags': [_summary(bag, [line for line in lines if line['bag'] == bag])
                     for bag in bags]}


def print_report(summary: dict[str, Any], lines: Sequence[dict[str, Any]]) -> None:
    """Print a table, and what is different."""
    names = _short_names([bag['bag'] for bag in summary['bags']])
    width = max(3, *map(len, names))
    print_text(f'{"bag":<{width}} {"questions":>9} {"equal":>6} {"different":>9} {"failed":>6} '
               f'{"new":>6} {"valid forms":>11} {"tokens/s (recorded)":>20} '
               f'{"first token ms (recorded)":>26} {"questions/s":>11} {"images/s":>8}')
    for name, bag in zip(names, summary['bags']):
        seconds = bag['seconds'] or float('inf')
        forms = f'{bag["valid_forms"]}/{bag["forms"]}' if bag['forms'] else '-'
        print_text(
            f'{name:<{width}} {bag["questions"]:>9} {bag[EQUAL]:>6} {bag[DIFFERENT]:>9} '
            f'{bag[FAILED]:>6} {bag[NEW]:>6} {forms:>11} {_figures(bag, _SPEED, 1):>20} '
            f'{_figures(bag, _LATENCY, 1000):>26} {bag["questions"] / seconds:>11.2f} '
            f'{bag["images"] / seconds:>8.2f}')
    other = [line for line in lines if line['verdict'] in (DIFFERENT, FAILED)]
    for line in other[:_SHOWN]:
        print_text(f'\nquestion {line["question"]} of {Path(line["bag"]).name}, mission '
                   f"'{line['mission_id']}': {_cut(line['prompt'])}")
        if line['recorded']:
            print_text(f'  recorded: {_answer(line["recorded"])}')
        print_text(f'  now:      {_answer(line["now"])}')
    if len(other) > _SHOWN:
        print_text(f'\n... and {len(other) - _SHOWN} more')


def _summary(bag: str, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    verdicts = Counter(line['verdict'] for line in lines)
    forms = [line['now']['valid_form'] for line in lines]
    both = [line for line in lines if line['recorded']
            and not (line['recorded']['error_code'] or line['now']['error_code'])]
    alone = both or [line for line in lines if not line['now']['error_code']]
    return {'bag': bag, 'questions': len(lines), **{name: verdicts[name] for name in _VERDICTS},
            'forms': len(forms) - forms.count(None), 'valid_forms': forms.count(True),
            'images': sum(line['images'] for line in lines),
            'seconds': sum(line['seconds'] for line in lines),
            'recorded': _medians(line['recorded'] for line in both),
            'now': _medians(line['now'] for line in alone)}


def _medians(answers: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the medians of what was measured; an answer of one token has no speed."""
    usages = [answer['usage'] for answer in answers]
    found = {name: [usage[name] for usage in usages if usage[name]] for name in (_SPEED, _LATENCY)}
    return {name: statistics.median(values) for name, values in found.items() if values}


def _figures(bag: dict[str, Any], name: str, scale: float) -> str:
    """Return a figure of now, and in parentheses that of the recording."""
    now, recorded = (f'{scale * bag[when][name]:.1f}' if name in bag[when] else '-'
                     for when in ('now', 'recorded'))
    return f'{now} ({recorded})'


def _short_names(bags: Sequence[str]) -> list[str]:
    """Return the names of bags without their folders, where these differ."""
    short = [Path(bag).name for bag in bags]
    return short if len(set(short)) == len(short) else list(bags)


def _answer(fields: dict[str, Any]) -> str:
    if fields['error_code']:
        return f'{_cut(fields["error_msg"])} [{fields["error_code"]}]'
    calls = ' '.join(f'{call["name"]}({call["arguments"]})' for call in fields['tool_calls'])
    return _cut(f'{fields["text"]} {calls}'.strip())


def _cut(text: str) -> str:
    line = ' '.join(text.split())
    return line if len(line) <= _WIDTH else f'{line[:_WIDTH]} ...'
