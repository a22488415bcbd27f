# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Grammars that hurt, each of any size."""
from __future__ import annotations

from collections.abc import Callable
import json
import random

Kind = Callable[[random.Random, int], str]

_TOKENS = ['0', '2815', '4294967295', '4294967296', '99999999999999999999', '-1', '*', '^*', '^0',
           '0-4294967295', '3-1', '', ',', '0,1,2', '^0-65535', '1-2-3', 'x', '^', '10-20,5-30']
_IMPORTS = ['common.INT', 'common.NUMBER', 'common.ESCAPED_STRING', 'common.WS', 'common.NOTHING',
            'common', '.x.y', 'common.INT -> start', 'common (INT, WORD)', 'python.lark']
_ATTRIBUTES = ['lazy', 'capture', 'capture="é"', 'stop=""', 'stop="\\n"', 'suffix="x"',
               'suffix=/.*/', 'max_tokens=0', 'max_tokens=18446744073709551615', 'max_tokens=2',
               'temperature=1e308', 'temperature=-1', 'stop_capture="s"', 'stop=/(a|b)*c/']
_OPTIONS = ['{"no_forcing": true}', '{"allow_invalid_utf8": true}', '{"allow_initial_skip": true}',
            '{"ignore_once": true}', '{"no_forcing": 1}', '{}', '[]', '{"unknown": "x"}']
_CONDITIONS = ['not({})', 'and({}, true)', 'or(true, {})', 'and(bit_set(0), {})']
_SPLINTERS = ['start', ':', '|', '"a"', '/b/', '(', ')', '[', ']', '{', '}', '~', '&', '\n', '->',
              '%json', '%lark', '%regex', '%ignore', '%import', '%override', '%declare x', '::',
              '_', '@g', '<[1]>', '<|im_end|>', '1', '0x1', '..', '*', '+', '?', '\\', '\0', '"',
              '/', '#', 'A', 'é', '😀', '!', '.', ',', '=', '%if', 'true', '%llguidance {}']


def _lines(first: str, lines: list[str]) -> str:
    return '\n'.join([first, *lines])


def _rule_chain(chance: random.Random, size: int) -> str:
    return _lines('start: r0', [f'r{i}:r{i + 1}' for i in range(size)] + [f'r{size}:"x"'])


def _rule_chain_with_text(chance: random.Random, size: int) -> str:
    return _lines('start: r0', [f'r{i}:"a"r{i + 1} "b"' for i in range(size)] + [f'r{size}: "x"'])


def _terminal_chain(chance: random.Random, size: int) -> str:
    return _lines('start: A0', [f'A{i}:A{i + 1}' for i in range(size)] + [f'A{size}:"x"'])


def _terminal_tower(chance: random.Random, size: int) -> str:
    way = chance.choice(['("a" A{} | "b")', '(A{} "a")*', '(A{} | "c")+', 'A{} "a" A{}'])
    return _lines('start: A0', [f'A{i}: ' + way.replace('{}', str(i + 1)) for i in range(size)]
                  + [f'A{size}: "x"'])


def _negation_tower(chance: random.Random, size: int) -> str:
    return _lines('start: A0', [f'A{i}:~(A{i + 1} "a")' for i in range(size)]
                  + [f'A{size}: "x"'])


def _wide_words(chance: random.Random, size: int) -> str:
    return 'start: ' + ' | '.join(f'"w{chance.randrange(10 ** 6)}"' for _ in range(size))


def _wide_rules(chance: random.Random, size: int) -> str:
    return _lines('start: ' + ' | '.join(f'r{i}' for i in range(size)),
                  [f'r{i}: /[a-z]+{i}/' for i in range(size)])


def _left_recursion(chance: random.Random, size: int) -> str:
    return _lines('start: r0', [f'r{i}:r{(i + 1) % size} "a"|"b"' for i in range(size)])


def _right_recursion(chance: random.Random, size: int) -> str:
    return _lines('start: r0', [f'r{i}:"a"r{(i + 1) % size}|""' for i in range(size)])


def _mutual_recursion(chance: random.Random, size: int) -> str:
    def pick() -> str:
        return f'r{chance.randrange(size)}'
    return _lines('start: r0', [f'r{i}: {pick()} {pick()} | {pick()} | "a" | ""'
                                for i in range(size)])


def _nullable_circle(chance: random.Random, size: int) -> str:
    return _lines('start: r0', [f'r{i}:r{(i + 1) % size} r{(i + 2) % size}|""'
                                for i in range(size)])


def _no_end(chance: random.Random, size: int) -> str:
    return _lines('start: r0', [f'r{i}:r{(i + 1) % size}' for i in range(size)])


def _ambiguous(chance: random.Random, size: int) -> str:
    return f'start: s\ns: {" ".join(["s"] * (2 + size % 8))} | s s | "a" | /a+/ | ""'


def _empty_many(chance: random.Random, size: int) -> str:
    return 'start: ' + ' '.join(chance.choice(['""', '("")*', '[""]', '("" | "")+'])
                                for _ in range(size))


def _parentheses(chance: random.Random, size: int) -> str:
    pair = chance.choice(['()', '[]'])
    return 'start: ' + pair[0] * size + '"a"' + pair[1] * size


def _alternate_parentheses(chance: random.Random, size: int) -> str:
    name = chance.choice(['start', 'A'])
    first = 'start: A\n' if name == 'A' else ''
    return f'{first}{name}: ' + '("a" | ' * size + '"b"' + ')' * size


def _repeated(chance: random.Random, size: int) -> str:
    many = chance.choice(['{1000}', '{0,1000}', '~1000', '~1..1000', '{1000,}', '+', '*'])
    inner, depth = '"a"', 1 + size % 20
    for _ in range(depth):
        inner = f'({inner}){many}'
    return f'start: {inner}' if chance.random() < 0.5 else f'start: A\nA: {inner}'


def _repeated_often(chance: random.Random, size: int) -> str:
    many = chance.choice(['{%d}', '{0,%d}', '~0..%d', '{%d,}']) % chance.choice(
        [size, size * 1000, (1 << 31) - 1, 1 << 31, (1 << 63)])
    return f'start: "a"{many}' if chance.random() < 0.5 else f'start: A\nA: /[a-c]/{many}'


def _optional_many(chance: random.Random, size: int) -> str:
    return 'start: ' + ' '.join([chance.choice(['[a]', 'a?', 'a*'])] * size) + '\na: "a" | "b"'


def _intersection(chance: random.Random, size: int) -> str:
    way = chance.choice(['/.*{}.*/', '/(.|\\n)*{}(.|\\n)*/', '/.*{}.*{}/', '/(..)*{}.*/'])
    return 'start: A\nA: ' + ' & '.join(way.replace('{}', str(i)) for i in range(size))


def _intersection_of_counts(chance: random.Random, size: int) -> str:
    return 'start: A\nA: ' + ' & '.join(f'/(a{{{i + 2}}})*/' for i in range(size))


def _negations(chance: random.Random, size: int) -> str:
    return 'start: A\nA: /(?s:.*)/ & ' + ' & '.join(
        f'~/(?s:.*){chance.choice("abc")}.{{{i % 20}}}{chance.choice("xyz")}(?s:.*)/'
        for i in range(size))


def _subtraction(chance: random.Random, size: int) -> str:
    return 'start: A\nA: /[a-c]*/ & ~(' + ' | '.join(
        f'/.*a.{{{i}}}b.*/' for i in range(size)) + ')'


def _exponential(chance: random.Random, size: int) -> str:
    return f'start: A\nA: /(a|b)*a(a|b){{{size}}}/' if chance.random() < 0.5 else \
        f'start: A "c"\nA: /[ab]*/ & /.*a.{{{size}}}/ & /.*b.{{{size + 1}}}/'


def _json_inside(chance: random.Random, size: int) -> str:
    schemas = [json.dumps({'type': 'object', 'properties': {f'p{i}': {'type': 'string'}},
                           'required': [f'p{i}'], 'additionalProperties': False})
               for i in range(size)]
    return _lines('start: ' + chance.choice([' ', ' | ']).join(f'r{i}' for i in range(size)),
                  [f'r{i}: %json {schema}' for i, schema in enumerate(schemas)])


def _json_nested(chance: random.Random, size: int) -> str:
    return 'start: %json ' + '{"items": ' * size + '{}' + '}' * size


def _lark_inside(chance: random.Random, size: int) -> str:
    return 'start: ' + '%lark { start: "a" ' * size + '}' * size


def _lark_beside(chance: random.Random, size: int) -> str:
    return 'start: ' + ' | '.join('%lark { start: "a" b\nb: /[0-9]+/ }' for _ in range(size))


def _substring(chance: random.Random, size: int) -> str:
    text = ''.join(chance.choice('ab é日') for _ in range(size))
    return 'start: A\nA: %regex ' + json.dumps(chance.choice([
        {'substring_chars': text}, {'substring_words': text},
        {'substring_chunks': [text[i:i + 3] for i in range(0, size, 3)]},
        {'substring_chunks': ['a'] * size}, {'substring_chars': 'a' * size}]), ensure_ascii=False)


def _ignored(chance: random.Random, size: int) -> str:
    return _lines('start: ("a" | "b")+', [f'%ignore /( |\\n|{i})*/' for i in range(size)])


def _imports(chance: random.Random, size: int) -> str:
    return _lines('start: "a"', [f'%import {chance.choice(_IMPORTS)}' for _ in range(size)])


def _special_tokens(chance: random.Random, size: int) -> str:
    return 'start: ' + chance.choice([' ', ' | ']).join(
        chance.choice(['<[%s]>' % chance.choice(_TOKENS), '<|im_end|>', '<|nothing|>'])
        for _ in range(size))


def _token_ranges(chance: random.Random, size: int) -> str:
    return 'start: (<[' + chance.choice(['', '^']) + ','.join(
        f'{2 * i}-{2 * i}' for i in range(size)) + ']>)*'


def _attributes(chance: random.Random, size: int) -> str:
    rules = [f'r{i}[{", ".join(chance.sample(_ATTRIBUTES, chance.randint(1, 2)))}]: '
             + chance.choice(['/.*/', '/(.|\\n)*/', '"a"', '/[0-9]+/', '/a?/'])
             for i in range(size)]
    between = chance.choice([' ', ' | '])
    return _lines('start: ' + between.join(f'r{i}' for i in range(size)), rules)


def _lazy_many(chance: random.Random, size: int) -> str:
    return _lines('start: (' + ' | '.join(f'r{i}' for i in range(size)) + ')*',
                  [f'r{i}[lazy]: /(.|\\n)*<{i}>/' for i in range(size)])


def _permutation(chance: random.Random, size: int) -> str:
    count = min(size, 64)
    cases = [f'"{chr(97 + i % 26)}{i}" p::set_bit({i}) %if bit_clear({i})' for i in range(count)]
    return _lines('start: p::0x0', ['p::_: "" | ' + ' | '.join(cases)])


def _parametric_left(chance: random.Random, size: int) -> str:
    count = min(size, 64)
    cases = [f'p::set_bit({i}) "{chr(97 + i % 26)}" %if bit_clear({i})' for i in range(count)]
    return _lines('start: p::0x0', ['p::_: "" %if is_ones(_) | ' + ' | '.join(cases)])


def _parametric_count(chance: random.Random, size: int) -> str:
    return f'start: p::0\np::_: p::incr(_) "a" | "" %if ge(_, {size})'


def _conditions(chance: random.Random, size: int) -> str:
    before, after = chance.choice(_CONDITIONS).split('{}')
    return f'start: p::0\np::_: "a" p::incr(_) %if {before * size}true{after * size} | ""'


def _literal(chance: random.Random, size: int) -> str:
    text = ''.join(chance.choice(['a', 'b', 'é', '日', '😀', 'ſ', 'K', 'İ']) for _ in range(size))
    return f'start: {json.dumps(text, ensure_ascii=False)}{chance.choice(["", "i"])}'


def _comments(chance: random.Random, size: int) -> str:
    return '\n' * size + '# é\n// ' * (size // 8) + '\nstart: "a"' + ' ' * size


def _options(chance: random.Random, size: int) -> str:
    return _lines('start: /.*/', [f'%llguidance {chance.choice(_OPTIONS)}' for _ in range(size)])


def _doubled(chance: random.Random, size: int) -> str:
    return _lines('start: r0 r0', [f'r{i}:r{i + 1} r{i + 1}' for i in range(size)]
                  + [f'r{size}: "x"'])


def _splinters(chance: random.Random, size: int) -> str:
    return chance.choice(['start: ', '']) + ' '.join(
        chance.choice(_SPLINTERS) for _ in range(size))


GRAMMARS: dict[str, Kind] = {
    f.__name__[1:]: f for f in (
        _rule_chain, _rule_chain_with_text, _terminal_chain, _terminal_tower, _negation_tower,
        _wide_words, _wide_rules, _left_recursion, _right_recursion, _mutual_recursion,
        _nullable_circle, _no_end, _ambiguous, _empty_many, _parentheses, _alternate_parentheses,
        _repeated, _repeated_often, _optional_many, _intersection, _intersection_of_counts,
        _negations, _subtraction, _exponential, _json_inside, _json_nested, _lark_inside,
        _lark_beside, _substring, _ignored, _imports, _special_tokens, _token_ranges, _attributes,
        _lazy_many, _permutation, _parametric_left, _parametric_count, _conditions, _literal,
        _comments, _options, _doubled, _splinters)}
