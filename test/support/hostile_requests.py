# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded queries with forms and tools: two thirds of them hostile, one third ordinary."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
import json
import random
import re
from typing import Any

from hostile_grammars import GRAMMARS
from hostile_regexes import REGEXES
from hostile_schemas import SCHEMAS
from hostile_tools import TOOLS
from lfm_ros import msg
from schemas import random_schema
from schemas import valid

MAX_LENGTH = 1 << 16       # characters that the node lets through
MAX_TOOL_LENGTH = 1 << 14
ORDINARY = 1 / 3
BEYOND = 0.03           # of the hostile ones, how many may be longer than the node allows
PROMPTS = ['Where is the pump?', 'Go to waypoint 12.', 'Say something.', 'The door is open.']

Check = Callable[[msg.Response], bool]
Maker = Callable[[random.Random], tuple[dict[str, Any], Check]]


@dataclass(frozen=True)
class Case:
    """
    One query of the attack.

    :param fields: of ``msg/Query``.
    :param right: of an ordinary one: tells whether an answer that is whole is right; None: the
        query is hostile, any answer and any refusal will do.
    """

    kind: str
    fields: dict[str, Any]
    right: Check | None = None

    @property
    def ordinary(self) -> bool:
        """Tell whether it must work."""
        return self.right is not None


def form_case(seed: str) -> Case:
    """Return a query with a form, always the same for a seed."""
    chance = random.Random(seed)
    if chance.random() < ORDINARY:
        kind = chance.choice(list(_ORDINARY))
        fields, right = _ORDINARY[kind](chance)
        return Case(kind, {**_common(chance, 60), **fields}, right)
    kind = chance.choice([*GRAMMARS, *REGEXES, *SCHEMAS, 'choices'])
    if kind == 'choices':
        form = msg.ResponseFormat(choices=_odd_choices(chance),
                                  choice_logprobs=chance.random() < 0.3)
    else:
        make = {**GRAMMARS, **REGEXES, **SCHEMAS}[kind]
        text = _fitting(lambda size: [make(chance, size)], MAX_LENGTH, chance)[0]
        field = 'grammar' if kind in GRAMMARS else 'regex' if kind in REGEXES else 'json_schema'
        form = msg.ResponseFormat(**{field: text})
    return Case(kind, {**_common(chance, 24), 'response_format': form})


def tools_case(seed: str) -> Case:
    """Return a query with tools, always the same for a seed."""
    chance = random.Random(seed)
    if chance.random() < ORDINARY:
        fields, right = _ordinary_tools(chance)
        return Case('ordinary_tools', {**_common(chance, 120), **fields}, right)
    kind = chance.choice(list(TOOLS))
    make = TOOLS[kind]
    tools: list[tuple[str, str]] = []

    def texts(size: int) -> list[str]:
        tools[:] = make(chance, size)
        return [parameters for _, parameters in tools]

    _fitting(texts, MAX_TOOL_LENGTH, chance)
    choice = chance.choice(['', 'auto', 'none', 'required', 'required', tools[0][0], 'nothing',
                            'é', 'x' * 300])
    return Case(kind, {**_common(chance, 24), 'tool_choice': choice, 'tools': [
        msg.Tool(name=name, description=chance.choice(['', 'Go.', '<|im_end|>']), parameters=text)
        for name, text in tools]})


def hostile_form(**form: str) -> dict[str, Any]:
    """Return the fields of a query with one form."""
    return {**_common(random.Random(1), 24), 'response_format': msg.ResponseFormat(**form)}


def hostile_tool(parameters: str, choice: str = 'required') -> dict[str, Any]:
    """Return the fields of a query with one tool."""
    return {**_common(random.Random(1), 24), 'tool_choice': choice,
            'tools': [msg.Tool(name='go', parameters=parameters)]}


def _common(chance: random.Random, tokens: int) -> dict[str, Any]:
    return {'prompt': chance.choice(PROMPTS), 'aside': True, 'max_tokens': tokens,
            'timeout': chance.uniform(2.0, 5.0),
            'sampling': msg.Sampling(temperature=chance.choice([0.0, 0.3, 1.0]), seed=1)}


def _fitting(make: Callable[[int], list[str]], longest: int, chance: random.Random) -> list[str]:
    """Return texts of a random size, of which one in :data:`BEYOND` may be too long."""
    size = int(2 ** chance.uniform(0, chance.choice([7, 10, 13, 15.9])))
    beyond = chance.random() < BEYOND
    while True:
        texts = make(size)
        length = max(map(len, texts), default=0)
        if length <= longest or size == 1 or (beyond and length < 2 * longest):
            return texts
        size = max(1, min(size - 1, size * longest // length))


def _odd_choices(chance: random.Random) -> list[str]:
    count = chance.choice([0, 1, 2, 17, 255, 256, 257])
    alphabet = chance.choice(['ab', 'aé日😀', '"\\\n\t\0', ' ', 'a' * 9 + 'b', '{}[]()*|/&~<>%'])
    length = chance.choice([0, 1, 3, 30, 1024, 1025])
    same = ''.join(chance.choices(alphabet, k=max(0, length - 5)))
    return [same + ''.join(chance.choices(alphabet, k=min(length, 5))) for _ in range(count)]


# ordinary ones

def _ordinary_schema(chance: random.Random) -> tuple[dict[str, Any], Check]:
    schema = random_schema(chance)
    return ({'response_format': msg.ResponseFormat(json_schema=json.dumps(schema))},
            lambda response: valid(json.loads(response.text), schema))


def _ordinary_choices(chance: random.Random) -> tuple[dict[str, Any], Check]:
    choices = [f'{a} {b}' for a, b in chance.sample(
        list(product(['go', 'stay', 'look', 'wait'], ['here', 'there', 'at waypoint 7'])), 5)]
    return ({'response_format': msg.ResponseFormat(choices=choices)},
            lambda response: response.text in choices)


def _ordinary_regex(chance: random.Random) -> tuple[dict[str, Any], Check]:
    regex = chance.choice(['[a-c]{2,5}', '(left|right) [0-9]{1,2}', '[0-9]{2}:[0-9]{2}',
                           'waypoint [1-9][0-9]?', '(yes|no)(, sir)?', 'é[日月]{2}'])
    return ({'response_format': msg.ResponseFormat(regex=regex)},
            lambda response: bool(re.fullmatch(regex, response.text)))


def _ordinary_grammar(chance: random.Random) -> tuple[dict[str, Any], Check]:
    grammar, pattern = chance.choice([
        ('start: NUMBER ("+" NUMBER){1,3}\nNUMBER: /[0-9]{1,3}/',
         r'[0-9]{1,3}(\+[0-9]{1,3}){1,3}'),
        ('start: word (", " word)~0..2\nword: "dock" | "door"', '(dock|door)(, (dock|door)){0,2}'),
        ('start: "<" start ">" | "x"', '<*x>*'),
        ('start: step+ "stop"\nstep: "go " /[a-d]/ "; "', '(go [a-d]; )+stop')])
    return ({'response_format': msg.ResponseFormat(grammar=grammar)},
            lambda response: bool(re.fullmatch(pattern, response.text)))


def _ordinary_tools(chance: random.Random) -> tuple[dict[str, Any], Check]:
    schemas = {}
    for name in chance.sample(['go', 'look', 'wait', 'robot.say'], chance.randint(1, 3)):
        arguments = chance.sample(['place', 'speed', 'text', 'sure'], chance.randint(0, 3))
        schemas[name] = {
            'type': 'object', 'additionalProperties': False,
            'properties': {a: random_schema(chance, depth=2) for a in arguments},
            'required': [a for a in arguments if chance.random() < 0.7]}
    fields = {'tool_choice': chance.choice(['required', next(iter(schemas))]), 'tools': [
        msg.Tool(name=n, description='Do it.', parameters=json.dumps(s))
        for n, s in schemas.items()]}
    return fields, lambda response: bool(response.tool_calls) and all(
        valid(json.loads(call.arguments), schemas[call.name]) for call in response.tool_calls)


_ORDINARY: dict[str, Maker] = {
    'ordinary_schema': _ordinary_schema, 'ordinary_choices': _ordinary_choices,
    'ordinary_regex': _ordinary_regex, 'ordinary_grammar': _ordinary_grammar}
