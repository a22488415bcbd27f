# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `lfm bench` prints for people."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lfm_ros.cli.output import print_text

_NONE = '-'

# title, key in a row, how it is printed
COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ('prefill tok/s', 'prefill_tokens_per_second', lambda n: f'{n:.0f}'),
    ('decode tok/s', 'decode_tokens_per_second', lambda n: f'{n:.1f}'),
    ('turn ms', 'turn_seconds', lambda n: f'{1000 * n:.1f}'),
    ('turn / at 0', 'turn_ratio', lambda n: f'{n:.2f}'),
    ('state MB', 'state_bytes', lambda n: f'{n / 1e6:.1f}'),
    ('RSS MB', 'rss_bytes', lambda n: f'{n / 1e6:.0f}'),
    ('private MB', 'private_bytes', lambda n: f'{n / 1e6:.0f}'),
    ('peak MB', 'peak_rss_bytes', lambda n: f'{n / 1e6:.0f}'))

# the same, where it fits
MORE: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    *COLUMNS,
    ('decode / at 0', 'decode_ratio', lambda n: f'{n:.2f}'),
    ('RSS / at 0', 'rss_ratio', lambda n: f'{n:.2f}'),
    ('RSS bytes per token', 'rss_bytes_per_token', lambda n: f'{n:,.0f}'))

# the same of what is known without a history
FACTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ('load s', 'load_seconds', lambda n: f'{n:.2f}'),
    ('RSS MB, loaded', 'rss_bytes', lambda n: f'{n / 1e6:.0f}'),
    ('private MB, loaded', 'private_bytes', lambda n: f'{n / 1e6:.0f}'),
    ('state bytes, fixed', 'state_bytes_fixed', lambda n: f'{n:,}'),
    ('state bytes per token', 'state_bytes_token', lambda n: f'{n:,}'))


def ratios(result: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the first model divided by those of the second."""
    first, second = result['models']
    found: dict[str, Any] = {key: _divided(first, second, key) for _, key, _ in FACTS}
    rows = [{row['history']: row for row in result['rows'] if row['model'] == which}
            for which in (0, 1)]
    found['rows'] = [
        {'history': history, **{key: _divided(rows[0][history], rows[1][history], key)
                                for _, key, _ in MORE}}
        for history in rows[0] if history in rows[1]]
    return found


def print_table(result: dict[str, Any]) -> None:
    """Print the table of one model, or of two side by side."""
    machine, settings = result['machine'], result['settings']
    board = f" ({machine['board']})" if machine['board'] else ''
    print_text(f"{machine['cpu']}{board}, {machine['cores']} cores, {machine['threads']} threads, "
               f"{machine['ram_bytes'] / 1e9:.1f} GB; ONNX Runtime {machine['onnxruntime']}, "
               f"lfm_ros {machine['lfm_ros'] or 'of unknown version'}; load average "
               f"{machine['load_average']:.1f} at the start")
    print_text(f"turn: first token of a turn of {settings['turn']} tokens; history: "
               + ('pretended, zeros' if settings['pretend'] else 'random tokens, read')
               + f"; medians of {settings['rounds']}")
    if len(result['models']) == 1:
        _print_one(result)
    else:
        _print_two(result)


def _print_one(result: dict[str, Any]) -> None:
    model, rows = result['models'][0], result['rows']
    print_text(f"{label(model)}: loaded in {model['load_seconds']:.2f} s, RSS "
               f"{model['rss_bytes'] / 1e6:.0f} MB, private {model['private_bytes'] / 1e6:.0f} MB")
    print_text(f"state: {model['state_bytes_fixed']:,} bytes + {model['state_bytes_token']:,} per "
               f"token; context: {model['context_length']:,} tokens")
    titles = ('history', *(title for title, _, _ in COLUMNS))
    _print_lines([titles, *((str(row['history']), *(_text(row, key, shown)
                                                    for _, key, shown in COLUMNS))
                            for row in rows)])
    if len(rows) > 1 and rows[-1]['turn_ratio'] is not None:
        last = rows[-1]
        print_text(f"at {last['history']:,} tokens, compared to none: RSS x "
                   f"{last['rss_ratio']:.2f} "
                   f"({last['rss_bytes_per_token']:,.0f} bytes per token), decode speed x "
                   f"{last['decode_ratio']:.2f}, turn x {last['turn_ratio']:.2f}")


def _print_two(result: dict[str, Any]) -> None:
    for letter, model in zip('AB', result['models']):
        print_text(f"{letter}: {label(model)}, context {model['context_length']:,} tokens")
    sides = result['models']
    lines: list[tuple[str, ...]] = [('', 'history', 'A', 'B', 'A/B')]
    lines += [(title, '', *(_text(m, key, shown) for m in sides),
               _text(result['ratios'], key, _ratio)) for title, key, shown in FACTS]
    rows = {(row['model'], row['history']): row for row in result['rows']}
    compared = {row['history']: row for row in result['ratios']['rows']}
    for title, key, shown in MORE:
        for history in sorted({row['history'] for row in result['rows']}):
            lines.append((title, str(history),
                          *(_text(rows.get((which, history), {}), key, shown)
                            for which in (0, 1)),
                          _text(compared.get(history, {}), key, _ratio)))
    _print_lines(lines)


def label(model: dict[str, Any]) -> str:
    """Return what a model is called beside others."""
    return f"{model['model']}/{model['graph']}"


def _print_lines(lines: list[tuple[str, ...]]) -> None:
    """Print columns; the first one to the left when it holds words."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        first = line[0].rjust(widths[0]) if lines[0][0] else line[0].ljust(widths[0])
        rest = [text.rjust(width) for text, width in zip(line[1:], widths[1:])]
        print_text('  '.join([first, *rest]).rstrip())


def _text(row: dict[str, Any], key: str, shown: Callable[[float], str]) -> str:
    return _NONE if row.get(key) is None else shown(row[key])


def _ratio(number: float) -> str:
    return f'{number:.2f}' if number < 1000 else f'{number:,.0f}'


def _divided(first: dict[str, Any], second: dict[str, Any], key: str) -> float | None:
    if first[key] is None or not second[key]:
        return None
    return first[key] / second[key]
