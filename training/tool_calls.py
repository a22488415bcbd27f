# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make missions with tools: commands answered with calls, and what the tools gave back.

Every mission has another list of tools, so that a model learns to read it. What needs no tool is
asked and answered as in every mission. Needs the Python standard library only.
"""

import json
import random
from typing import Any, NamedTuple, Optional

from missions import Mission, MissionMaker, Turn
from skills import (draw_value, FRAMES, HELD_FRAMES, HELD_JOINTS, HELD_STRANGE, JOINTS,
                    longer_name, made_up_name, made_up_skill, reason, Role, ROLES, Skill, SKILLS,
                    STRANGE, Value)
from words import NOUNS

# Held out: nothing but the list as a whole, the names of tools, the sentences of commands.
CALL_SPLITS = ('list', 'tool', 'wording')
DRIVE = SKILLS['navigate']
CALL_BEGIN, CALL_END = '<|tool_call_start|>', '<|tool_call_end|>'
NO_TOOL = 'I have no tool for that.'
# What functions give back as text; an exception of one is told as the client of lfm_ros tells it.
SUCCESSES = ('done', 'done', 'ok', 'success', 'true')
ARRIVALS = ('arrived at waypoint {waypoint}', 'reached waypoint {waypoint}')
RECORDS: tuple[dict[str, Any], ...] = (
    {'status': 'done'}, {'result': 'success'}, {'status': 'ok', 'seconds': 12}, {'done': True},
    {'file': 'image.png'}, {'file': 'picture.jpg', 'taken_at': 'waypoint 3'},
    {'state': 'charging'})
FAILURES = ('error: RuntimeError: {why}', 'error: RuntimeError: {why}', 'error: ValueError: {why}',
            'error: {why}', 'failed: {why}', 'error: TimeoutError: {why}')
# Characters of a list: about 370 tokens; in a drill, about 200.
LONGEST_LIST, LONGEST_DRILL_LIST = 660, 360
_SPLIT_OF_THE_REST = {'list': 'pair', 'tool': 'pair', 'wording': 'wording'}


class Parameter(NamedTuple):
    """A parameter of a tool; one without a role is never given."""

    name: str
    role: Optional[str]
    schema: dict[str, Any]


class Tool(NamedTuple):
    """A tool as the model is told of it, and the skill behind it."""

    skill: Skill
    name: str
    about: str
    parameters: list[Parameter]
    required: bool

    @property
    def roles(self) -> list[str]:
        """Return what its arguments are for."""
        return [parameter.role for parameter in self.parameters if parameter.role]

    @property
    def entry(self) -> dict[str, Any]:
        """Return its entry in a list of tools."""
        schema: dict[str, Any] = {'type': 'object', 'properties': {
            parameter.name: parameter.schema for parameter in self.parameters}}
        required = [parameter.name for parameter in self.parameters
                    if parameter.role in self.skill.roles]
        if self.required and required:
            schema['required'] = required
        return {'name': self.name, 'description': self.about, 'parameters': schema}


class Call(NamedTuple):
    """A call of a tool with a value for some of its roles."""

    tool: Tool
    values: dict[str, Value]

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments in the order of the tool's parameters."""
        return {parameter.name: _fitting(self.values[parameter.role], parameter.schema)
                for parameter in self.tool.parameters if parameter.role in self.values}

    @property
    def text(self) -> str:
        """Return it as the model writes it."""
        given = ', '.join(f'{name}={_literal(value)}' for name, value in self.arguments.items())
        return f'{self.tool.name}({given})'

    @property
    def done(self) -> str:
        """Return what the model says when it was done."""
        slots = {role: value.report for role, value in self.values.items()}
        return self.tool.skill.done.format(**slots, opened=self.opened)

    @property
    def opened(self) -> str:
        """Return what a gripper is to be; empty where none is meant."""
        return self.values['open'].report if 'open' in self.values else ''


def write_calls(calls: list[Call]) -> str:
    """Return calls as the model writes them."""
    return f'{CALL_BEGIN}[{", ".join(call.text for call in calls)}]{CALL_END}'


class CallMaker(MissionMaker):
    """Make missions with tools for training (split None) or from one of the `CALL_SPLITS`."""

    def __init__(self, seed: int, split: Optional[str] = None, room_share: float = 0.1) -> None:
        self.tools: list[Tool] = []
        self.called: list[Call] = []
        self.call_split = split
        super().__init__(seed, split and _SPLIT_OF_THE_REST[split], room_share)

    def mission(self, turns: int) -> Mission:
        """Make a mission of about so many turns, not counting the results of tools."""
        self._begin()
        rng = self.rng
        self.tools = self._draw_tools((1, 2, 2, 2, 2, 3, 3, 3, 4, 5), LONGEST_LIST)
        busy = rng.random() < 0.6
        weights = [rng.uniform(3.0, 6.0), rng.uniform(0.4, 1.6), rng.uniform(0.4, 1.6)]
        weights += [share * rng.uniform(0.0, 0.3 if busy else 1.5) for share in (2, 1, 3, 1, 1)]
        makers = [self._command, self._two, self._none, self._tell, self._tell_update, self._ask,
                  self._chat, self._other]
        self.unknown_share = rng.uniform(0.05, 0.5)
        made: list[Turn] = [] if busy else [self._plain_tell() for _ in range(rng.randint(0, 3))]
        while len(made) < turns:
            self.world.now += 1
            self.called = []
            made.append(rng.choices(makers, weights)[0]())
            if self.called and rng.random() < (0.9 if self.split else 0.6):
                made.append(self._result())
        return Mission(self._system(), made, self._listed())

    def drill(self, turns: int) -> Mission:
        """Make a dense exercise of calls with a short list, for training only."""
        self._begin()
        self.tools = self._draw_tools((1, 2, 2, 3), LONGEST_DRILL_LIST)
        makers = [self._command] * 8 + [self._two, self._none, self._none]
        return Mission(None, [self.rng.choice(makers)() for _ in range(turns)], self._listed())

    def _listed(self) -> str:
        return json.dumps([tool.entry for tool in self.tools], ensure_ascii=False)

    def _draw_tools(self, counts: tuple[int, ...], longest: int) -> list[Tool]:
        rng = self.rng
        while True:
            count = rng.choice(counts)
            tools = [self._draw_tool(skill) for skill in rng.sample(list(SKILLS), count)]
            if rng.random() < 0.3 and tools[0].skill is not DRIVE:
                tools[0] = self._draw_tool('navigate')
            if rng.random() < 0.3:
                word = made_up_name(rng, self.call_split == 'tool')
                tools[-1] = self._describe(made_up_skill(rng, word), word, '')
            rng.shuffle(tools)
            names = {tool.name for tool in tools}
            length = len(json.dumps([tool.entry for tool in tools]))
            skills = [tool.skill for tool in tools]
            if len(names) == count and skills.count(DRIVE) < 2 and length <= longest:
                return tools

    def _draw_tool(self, key: str) -> Tool:
        rng, skill, share = self.rng, SKILLS[key], self.rng.random()
        held_out = self.call_split == 'tool'
        about = rng.choice(skill.held_about if self.call_split == 'wording' else skill.about)
        about = about if rng.random() < 0.8 else about.rstrip('.')
        if share < (0.25 if held_out else 0.12):
            return self._describe(skill, made_up_name(rng, held_out), about)
        if share < (0.5 if held_out else 0.35):
            name = longer_name(rng, skill, held_out)
        else:
            name = rng.choice(skill.held_names if held_out else skill.names)
            if held_out:
                return self._describe(skill, name, about)
        return self._describe(skill, name, about if rng.random() < 0.65 else '')

    def _describe(self, skill: Skill, name: str, about: str) -> Tool:
        rng = self.rng
        roles = [*skill.roles, *(role for role in skill.optional if rng.random() < 0.3)]
        rng.shuffle(roles)
        parameters: list[Parameter] = []
        for role in roles:
            taken = {parameter.name for parameter in parameters}
            while (named := self._parameter_name(ROLES[role])) in taken:
                pass
            parameters.append(Parameter(named, role, _schema(rng, ROLES[role])))
        if parameters and rng.random() < 0.1:
            extra = self._parameter_name(ROLES[rng.choice(('speed', 'seconds', 'number'))])
            if all(extra != parameter.name for parameter in parameters):
                parameters.append(Parameter(extra, None, {'type': rng.choice(
                    ('integer', 'number', 'boolean'))}))
        unnamed = any(parameter.role is None for parameter in parameters)
        return Tool(skill, name, about, parameters, unnamed or rng.random() < 0.25)

    def _parameter_name(self, role: Role) -> str:
        rng, held_out = self.rng, self.call_split == 'tool'
        if rng.random() < (0.2 if held_out else 0.1):
            return made_up_name(rng, held_out) if held_out or rng.random() < 0.6 else \
                rng.choice([noun for noun in NOUNS if '-' not in noun])
        return rng.choice(role.names)

    def _plain_tell(self) -> Turn:
        text, answer = self._line(update=False)
        return Turn(text, answer, 'ack')

    def _command(self) -> Turn:
        call = self._draw_call()
        self.called = [call]
        return Turn(self._sentence([self._clause(call)]), write_calls(self.called), 'call')

    def _two(self) -> Turn:
        first = self._draw_call()
        others = [tool for tool in self.tools if tool != first.tool or self.rng.random() < 0.1]
        second = self._draw_call(self.rng.choice(others or self.tools))
        self.called = [first, second]
        clauses = [self._clause(call) for call in self.called]
        return Turn(self._sentence(clauses), write_calls(self.called), 'call_two')

    def _none(self) -> Turn:
        """Command what no tool of the list is for."""
        rng, share, held_out = self.rng, self.rng.random(), self.call_split == 'wording'
        if share < 0.2:
            clause = rng.choice(HELD_STRANGE if held_out else STRANGE)
        else:
            skills = [tool.skill for tool in self.tools]
            other = [skill for skill in SKILLS.values() if skill not in skills]
            word = made_up_name(rng, self.call_split == 'tool')
            skill = rng.choice(other) if share < 0.9 else made_up_skill(rng, word)
            clause = self._clause(self._draw_call(Tool(skill, word, '', [
                Parameter(role, role, {}) for role in skill.roles], False)))
        return Turn(self._sentence([clause]), NO_TOOL, 'call_none')

    def _ask(self) -> Turn:
        """Ask about a place, or go there: with the tool for that, if it is listed."""
        drive = next((tool for tool in self.tools if tool.skill is DRIVE), None)
        go = drive is not None and self.rng.random() < 0.35
        for _ in range(20):
            turn = super()._ask()
            if turn.kind != 'go':
                if not go or not self.world.places:
                    return turn
                continue
            goal = json.loads(turn.answer)
            if drive is None:
                return turn._replace(answer=NO_TOOL, kind='call_none', gap=-1)
            if 'waypoint' in goal:
                values = {role: Value(goal[role], '', str(goal[role]))
                          for role in drive.roles if role in goal}
                self.called = [Call(drive, values)]
                return turn._replace(answer=write_calls(self.called), kind='call_known')
        return self._ask_unknown()

    def _draw_call(self, tool: Optional[Tool] = None) -> Call:
        rng = self.rng
        tool = tool or rng.choice(self.tools)
        values = {role: draw_value(rng, self.names, role) for role in tool.roles
                  if role in tool.skill.roles or rng.random() < 0.6}
        return Call(tool, values)

    def _clause(self, call: Call) -> str:
        """Return a command for a call, as a clause."""
        skill, rng = call.tool.skill, self.rng
        held_out = self.call_split == 'wording' and rng.random() < 0.6
        commands = skill.held_commands if held_out else skill.commands
        words = dict.fromkeys(skill.optional, '')
        words.update((role, value.words) for role, value in call.values.items())
        clause = rng.choice(commands).format(**words, opened=call.opened)
        if self.split is None and call.tool.name in skill.names and rng.random() < 0.1:
            # As people say it who know the list: the name of the tool, then what it needs.
            clause = ' '.join([call.tool.name.replace('_', ' '), *(
                words[role].strip() for role in skill.roles)])
        return clause

    def _sentence(self, clauses: list[str]) -> str:
        """Return one or two clauses as a sentence."""
        rng, held_out = self.rng, self.call_split == 'wording'
        text = rng.choice(HELD_JOINTS if held_out else JOINTS).join(clauses)
        frames: tuple[str, ...] = HELD_FRAMES if held_out and rng.random() < 0.6 else FRAMES
        # A made-up word looks the same everywhere but at the beginning.
        if clauses[0].split()[0] not in _FIRST_WORDS:
            frames = tuple(frame for frame in frames if not frame.startswith('{c}'))
        text = rng.choice(frames).format(c=text)
        if self.split is None and rng.random() < 0.15:
            return text.rstrip('.')
        return text[0].upper() + text[1:]

    def _result(self) -> Turn:
        """Tell what the tools gave back that were called."""
        rng, results, reports = self.rng, [], []
        failing, spoken = rng.choice((0.0, 0.5)), rng.random() < 0.5
        for call in self.called:
            if rng.random() < failing:
                why = reason(rng, self.call_split == 'wording')
                fields = {'ok': False, rng.choice(('reason', 'reason', 'error')): why}
                text = rng.choice(FAILURES).format(why=why)
                reports.append(f'I could not do it: {why}.')
            else:
                fields = {'ok': True, **(call.arguments if rng.random() < 0.5 else {})}
                if rng.random() < 0.4:
                    fields = rng.choice(RECORDS)
                text = rng.choice((*SUCCESSES, call.done, call.done.rstrip('.')))
                if 'waypoint' in call.values and rng.random() < 0.5:
                    text = rng.choice(ARRIVALS).format(waypoint=call.values['waypoint'].report)
                reports.append(call.done)
            results.append(text if spoken else json.dumps(fields))
        return Turn('', ' '.join(reports), 'result', results=tuple(results))


_FIRST_WORDS = {clause.split()[0] for skill in SKILLS.values()
                for clause in skill.commands + skill.held_commands}
_FIRST_WORDS |= {clause.split()[0] for clause in STRANGE + HELD_STRANGE} | {'open', 'close'}


def _schema(rng: random.Random, role: Role) -> dict[str, Any]:
    """Return one of the schemas that a parameter of a role may have."""
    share = rng.random()
    if role.kind in ('choice', 'switch') and (role.kind == 'choice' or share < 0.4):
        return {'type': 'string', 'enum': rng.sample(role.limits, len(role.limits))}
    if role.kind == 'switch':
        return {'type': 'boolean'}
    if role.kind == 'text':
        return {'type': 'string'}
    if role.kind == 'number':
        return {'type': 'number'}
    if share < 0.1:
        return {'type': 'integer', 'minimum': role.limits[0], 'maximum': role.limits[1]}
    return {'type': 'integer' if share < 0.85 else rng.choice(('number', 'string'))}


def _fitting(value: Value, schema: dict[str, Any]) -> Any:
    """Return a value as a schema wants it."""
    if schema.get('type') == 'boolean':
        return value.value in ('on', 'open')
    return str(value.value) if schema.get('type') == 'string' else value.value


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
