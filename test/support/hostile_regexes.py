# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Regular expressions that hurt, each of any size."""
from __future__ import annotations

from collections.abc import Callable
import random

Kind = Callable[[random.Random, int], str]

_CLASSES = ['\\p{L}', '\\p{Greek}', '\\P{N}', '\\w', '\\d', '.', '\\S', '[^a-z]', '\\p{Emoji}',
            '[\\p{L}&&[^a-z]]', '[a-z--[aeiou]]', '\\x{10FFFF}', '[\\x00-\\x7f]', 'é', '日']


def _count_of_count(chance: random.Random, size: int) -> str:
    inner = chance.choice(['a', '[a-z]', '.', 'é', '(a|bc)'])
    for _ in range(1 + size % 6):
        inner = f'({inner}{{{chance.choice([10, 100, 1000])}}})'
    return inner


def _wide_count(chance: random.Random, size: int) -> str:
    return f'{chance.choice(_CLASSES)}{{{chance.choice([0, size])},{size}}}'


def _groups(chance: random.Random, size: int) -> str:
    return '(' * size + 'a' + ')' * size


def _stars(chance: random.Random, size: int) -> str:
    return '(' * size + 'a' + ')*' * size


def _many_optional(chance: random.Random, size: int) -> str:
    return 'a?' * size + 'a' * size


def _branches(chance: random.Random, size: int) -> str:
    return '|'.join(''.join(chance.choices('abcé', k=8)) for _ in range(size))


def _nested_branches(chance: random.Random, size: int) -> str:
    return '(a|' * size + 'b' + ')' * size


def _gaps(chance: random.Random, size: int) -> str:
    return '.*'.join(chr(97 + i % 26) for i in range(size)) + '.*'


def _late_choice(chance: random.Random, size: int) -> str:
    return f'(a|b)*a(a|b){{{size}}}'


def _classes(chance: random.Random, size: int) -> str:
    return ''.join(chance.choice(_CLASSES) + chance.choice(['', '*', '+', '?', '{2,9}'])
                   for _ in range(size))


def _nested_classes(chance: random.Random, size: int) -> str:
    return '[' * size + 'a' + ']' * size


def _case_blind(chance: random.Random, size: int) -> str:
    return '(?i)' + ''.join(chance.choices('aszKéßſİσ', k=size))


def _forbidden(chance: random.Random, size: int) -> str:
    return chance.choice(['(?=a)', '(?<!a)', '\\1', '(a)\\1', '\\b', '^', '$', '(?P<n>', 'a**',
                          '*', '(?x) a # b', 'a{2,1}', '[z-a]', '\\p{Nothing}', '\\u{110000}',
                          'a{99999999999}', '(?-u:\\xff)', '\\xff', '[[:alpha:]]']) * size


REGEXES: dict[str, Kind] = {
    'regex_' + f.__name__[1:]: f for f in (
        _count_of_count, _wide_count, _groups, _stars, _many_optional, _branches, _nested_branches,
        _gaps, _late_choice, _classes, _nested_classes, _case_blind, _forbidden)}
