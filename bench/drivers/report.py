# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turn what the rounds of a comparison measured into tables."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import statistics
from typing import Any

MB = 1_000_000


def tables(result: dict[str, Any]) -> str:
    """Return the tables in Markdown."""
    engines, peers = result['engines'], [e for e in result['engines'] if not e['ours']]
    parts = [_speeds(result, engines),
             'Medians of the ratios within a round; over 1: lfm_ros is faster.']
    for ours in engines:
        if ours['ours'] and peers:
            parts.append(_ratios(result, ours, peers))
    return '\n\n'.join([*parts, _memory(result, engines), _rounds(result), _tokens(result)])


def _speeds(result: dict[str, Any], engines: Sequence[dict[str, Any]]) -> str:
    histories = result['histories']
    head = ['engine', 'bits per weight']
    for size in histories:
        head += [f'prefill {size} tok/s', f'decode at {size} tok/s',
                 f'of its limit at {size}, tok/s']
        if result['behind']:
            head.append(f'{result["behind"]} tokens behind {size}, ms')
    rows = []
    for engine in engines:
        row = [engine['name'], str(engine['bits'].get('bits_per_weight', ''))]
        for size in histories:
            row.append(_middle(values(engine, size, 'prefill'), '.0f'))
            row.append(_middle(values(engine, size, 'decode'), '.1f'))
            shares, limit = limit_shares(result, engine, size), limits(result, engine)
            row.append(f'{_middle(shares, ".2f")} of {_middle(limit, ".0f")}' if shares else '')
            if result['behind']:
                row.append(_middle([1000 * s for s in values(engine, size, 'ttft')], '.0f'))
        rows.append(row)
    return ('Medians. The limit: reading all weights once for a token, at the read bandwidth of '
            'the same round.\n\n' + _table(head, rows))


def _ratios(result: dict[str, Any], ours: dict[str, Any],
            peers: Sequence[dict[str, Any]]) -> str:
    head = [f'{ours["name"]} against']
    kinds = ['prefill', 'decode', *(['ttft'] if result['behind'] else [])]
    for size in result['histories']:
        head += [f'{kind} {size}' for kind in kinds]
    rows = []
    groups = {peer['name']: [peer] for peer in peers}
    for module in sorted({peer['module'] for peer in peers}):
        same = [peer for peer in peers if peer['module'] == module]
        if len(same) > 1:
            groups[f'the fastest {module} of each column'] = same
    for name, group in groups.items():
        row = [name]
        for size in result['histories']:
            for kind in kinds:
                found = [ratios(ours, peer, size, kind) for peer in group]
                row.append(_middle(min(filter(None, found), key=statistics.median, default=[]),
                                   '.2f'))
        rows.append(row)
    return _table(head, rows)


def _memory(result: dict[str, Any], engines: Iterable[dict[str, Any]]) -> str:
    head = ['engine, MB anonymous (resident)', 'loaded',
            *(f'after {size}' for size in result['histories']), 'peak resident']
    rows = []
    for engine in engines:
        notes = engine['memory']
        row = [engine['name']]
        for key in ('loaded', *map(str, result['histories'])):
            note = notes.get(key)
            row.append(f'{note["anonymous"] / MB:.0f} ({note["rss"] / MB:.0f})' if note else '')
        row.append(f'{max(note["peak"] for note in notes.values()) / MB:.0f}')
        rows.append(row)
    return (f'Memory, with a cache made for {result["context"]} tokens, in the first round. What '
            'is private is in the JSON: it depends on who else has the same file open.\n\n'
            + _table(head, rows))


def _rounds(result: dict[str, Any]) -> str:
    rows = [[str(i + 1), f'{r["load"]:.2f}', f'{r["bandwidth"] / 1e9:.1f}',
             ', '.join(r['order'])] for i, r in enumerate(result['rounds'])]
    return _table(['round', 'load average', 'read GB/s', 'order'], rows)


def _tokens(result: dict[str, Any]) -> str:
    """Tell how long each engine chose the same tokens as the first one."""
    first = result['engines'][0]
    rows = []
    for engine in result['engines'][1:]:
        row = [engine['name']]
        for size in map(str, result['histories']):
            pairs = zip(first['tokens'].get(size, []), engine['tokens'].get(size, []))
            row.append(' '.join(f'{_agreement(a, b)}/{len(a)}' for a, b in pairs))
        rows.append(row)
    head = [f'leading tokens as {first["name"]}', *(f'at {s}' for s in result['histories'])]
    return _table(head, rows) if rows else ''


def values(engine: dict[str, Any], size: int, kind: str) -> list[float]:
    """Return what the engine reached in each round; empty where it was left out."""
    return list(engine['measured'].get(str(size), {}).get(kind, []))


def ratios(ours: dict[str, Any], peer: dict[str, Any], size: int, kind: str) -> list[float]:
    """Return how many times as fast lfm_ros was in each round."""
    pairs = zip(values(ours, size, kind), values(peer, size, kind))
    return [b / a if kind == 'ttft' else a / b for a, b in pairs]


def limits(result: dict[str, Any], engine: dict[str, Any]) -> list[float]:
    """Return the tokens per second of each round if nothing took time but reading weights."""
    weight = engine['bits'].get('weight_bytes')
    return [r['bandwidth'] / weight for r in result['rounds']] if weight else []


def limit_shares(result: dict[str, Any], engine: dict[str, Any], size: int) -> list[float]:
    """Return the share of the limit that decoding reached in each round."""
    return [speed / limit for speed, limit in zip(values(engine, size, 'decode'),
                                                  limits(result, engine))]


def _middle(found: Sequence[float], form: str) -> str:
    return format(statistics.median(found), form) if found else ''


def _agreement(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)
