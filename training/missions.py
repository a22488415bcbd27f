# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make missions: conversations of facts, updates, questions, commands and their right answers.

Needs the Python standard library only, so that tests can make held-out missions with it.
"""

import random
from typing import Any, Callable, NamedTuple, Optional

from commands import make_chat, make_command, make_speed
from drills import make_drill
from entities import EntityMaker
from variety import pick_widely
from wordings import disturb, pick, TRAINED
from words import ADJECTIVES, made_up_word, NAMES, NOUNS, NUMBERS, SHAPES, STATES, VISION
from world import World

# Stands between the system text and a list of tools; the node reads what is before it apart.
TOOLS_OPENING = '\nList of tools: '


class Turn(NamedTuple):
    """
    One exchange; gap counts the turns between the question and the last word on its entity.

    The picture, if any, comes before the text; it is a Sight, and says its number of tokens. With
    results of tools, it is they that are answered, and there is no text of the user.
    """

    user: str
    answer: str
    kind: str
    gap: int = -1
    picture: Any = None
    results: tuple[str, ...] = ()


class Mission(NamedTuple):
    """A conversation: the system text, if any, its turns, and its tools as JSON, if any."""

    system: Optional[str]
    turns: list[Turn]
    tools: str = ''


def render(mission: Mission) -> list[tuple[str, str, str]]:
    """Return (prompt, answer, kind) of every turn in the chat format of LFM2."""
    opening = '<|startoftext|>'
    system = mission.system or ''
    if mission.tools:
        system += f'{TOOLS_OPENING if system else TOOLS_OPENING[1:]}<|tool_list_start|>' \
            f'{mission.tools}<|tool_list_end|>'
    if system or mission.system is not None:
        opening += f'<|im_start|>system\n{system}<|im_end|>\n'
    parts = []
    for turn in mission.turns:
        image = '' if turn.picture is None else \
            f'<|image_start|>{"<image>" * turn.picture.tokens}<|image_end|>'
        asked = [f'tool\n<|tool_response_start|>{result}<|tool_response_end|>'
                 for result in turn.results] or [f'user\n{image}{turn.user}']
        prompt = opening + ''.join(f'<|im_start|>{part}<|im_end|>\n' for part in asked) + \
            '<|im_start|>assistant\n'
        parts.append((prompt, f'{turn.answer}<|im_end|>', turn.kind))
        opening = '\n'
    return parts


class MissionMaker:
    """Make missions for training (split None) or from one held-out split."""

    def __init__(self, seed: int, split: Optional[str] = None, room_share: float = 0.1) -> None:
        self.rng = random.Random(seed)
        self.split = split
        self.room_share = room_share
        self.names = EntityMaker(self.rng, split, room_share)
        self._begin()

    def mixed(self, turns: int) -> Mission:
        """Make a mission of turns of every kind, in proportions drawn once per mission."""
        self._begin()
        rng = self.rng
        weights = [rng.uniform(0.4, 2.0), rng.uniform(0.2, 1.2), rng.uniform(1.5, 4.0),
                   rng.uniform(0.1, 2.5), rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.6)]
        makers: list[Callable[[], Turn]] = [
            self._tell, self._tell_update, self._ask, self._command, self._chat, self._other]
        made = [self._tell() if rng.random() < 0.8 else self._ask()]
        while len(made) < turns:
            self.world.now += 1
            if len(self.world.places) >= self.most_known:
                weights[0] = 0.1
            made.append(rng.choices(makers, weights)[0]())
        return Mission(self._system(), made)

    def distant(self, gap: int, facts: int = 3, questions: int = 6) -> Mission:
        """Make a mission of facts, then `gap` other turns, then questions in any order."""
        self._begin()
        rng, made = self.rng, []
        while len(self.world.places) < facts:
            made.append(self._tell())
            self.world.now += 1
            if rng.random() < 0.25:
                made.append(self._tell_update())
                self.world.now += 1
        quiet = [self._command, self._command, self._chat, self._other, self._ask_unknown]
        for _ in range(gap):
            made.append(rng.choice(quiet)())
            self.world.now += 1
        for _ in range(questions):
            made.append(self._ask())
            self.world.now += 1
        return Mission(self._system(), made)

    def moving(self, turns: int) -> Mission:
        """Make a mission in which a few things move again and again, for training only."""
        self._begin()
        rng = self.rng
        self.unknown_share = rng.uniform(0.05, 0.4)
        quiet = [self._command, self._chat, self._other, self._other, self._ask_unknown]
        made = [self._tell() for _ in range(rng.randint(1, 5))]
        while len(made) < turns:
            for makers, most in (([self._tell_update, self._tell_update, self._tell], 3),
                                 (quiet, rng.choice((0, 2, 12))), ([self._ask], 4)):
                for _ in range(rng.randint(min(1, most), most)):
                    self.world.now += 1
                    made.append(rng.choice(makers)())
        return Mission(self._system(), made[:turns])

    def drill(self, facts: int) -> Mission:
        """Make a dense exercise of recall, for training only."""
        self._begin()
        self.names.room_share = 0.0
        turns = make_drill(self.rng, self.world, facts)
        self.names.room_share = self.room_share
        return Mission(None, [Turn(*turn) for turn in turns])

    def _begin(self) -> None:
        self.world = World(self.rng, self.names)
        self.unknown_share = self.rng.uniform(0.15, 0.75)
        self.most_known = self.rng.randint(1, 8)
        self.canonical = self.rng.choice((0.9, 0.5, 0.2) if self.split else (0.8, 0.4, 0.1))

    def _system(self) -> Optional[str]:
        rng = self.rng
        share = rng.random()
        if share < 0.4:
            return None
        if share < 0.6 or self.split:
            return pick(rng, 'system', self.split == 'wording')
        if share < 0.75:
            return ' '.join(rng.sample(TRAINED['system'], 2))
        words = [self._filler() for _ in range(rng.randint(2, 20))]
        return ' '.join(words).capitalize() + '.'

    def _filler(self) -> str:
        rng = self.rng
        return made_up_word(rng) if rng.random() < 0.3 else rng.choice(rng.choice(
            (ADJECTIVES, NOUNS, VISION, SHAPES, NUMBERS, STATES)))

    def _say(self, kind: str, **slots: object) -> str:
        rng = self.rng
        wording = pick(rng, kind, self.split == 'wording', self.canonical) if self.split else \
            pick_widely(rng, kind, self.canonical, self._filler)
        if self.split is None and rng.random() < 0.06:
            wording = disturb(rng, wording, made_up_word(rng) if rng.random() < 0.6 else
                              rng.choice(ADJECTIVES + NOUNS))
        text = wording.format(**slots)
        if self.split is None and rng.random() < 0.04:
            text = rng.choice((text[0].lower() + text[1:], text.rstrip('.?'),
                               f'Hey, {text}', f'{made_up_word(rng).capitalize()}, {text}'))
        return text

    def _line(self, update: bool) -> tuple[str, str]:
        """Return one line that tells something, and the acknowledgement it would get."""
        rng = self.rng
        if rng.random() < 0.1:
            value = rng.randint(1, 99)
            if rng.random() < 0.35:
                return self._say('noise', v=value), 'Noted.'
            self.world.battery = value
            return self._say('battery', v=value), 'Noted.'
        if update and self.world.places and rng.random() < 0.9:
            entity = rng.choice(list(self.world.places))
        else:
            entity = self.world.new_entity()
        place = self.world.put(entity)
        text = self._say('update' if update else 'fact', x=entity, p=place.location,
                         t=place.target)
        return text, 'Updated.' if update else 'Noted.'

    def _tell(self, update: bool = False) -> Turn:
        """Tell one to four lines; a question or a command may follow on the last line."""
        rng = self.rng
        count = 1 if rng.random() < 0.85 else rng.randint(2, 4)
        lines = [self._line(update if i == 0 else rng.random() < 0.25) for i in range(count)]
        told = '\n'.join(line for line, _ in lines)
        if rng.random() < 0.12:
            turn = (self._command if rng.random() < 0.25 else self._ask)()
            joint = '\n' if count > 1 or rng.random() < 0.8 else ' '
            return turn._replace(user=told + joint + turn.user)
        return Turn(told, lines[-1][1], 'ack')

    def _tell_update(self) -> Turn:
        return self._tell(update=True)

    def _ask(self) -> Turn:
        if not self.world.places or self.rng.random() < self.unknown_share:
            return self._ask_unknown()
        entity, gap = self.world.known_entity()
        place = self.world.places[entity]
        if self.rng.random() < 0.2:
            speed, member = make_speed(self.rng)
            return Turn(self._say('go', x=entity)[:-1] + f'{speed}.',
                        f'{{"action":"navigate",{place.json}{member}}}', 'go', gap)
        kind = 'updated' if entity in self.world.updated else 'recall'
        return Turn(self._say('where', x=entity), f'The {entity} is {place.location}.', kind, gap)

    def _ask_unknown(self) -> Turn:
        entity = self.world.unknown_entity()
        go = self.rng.random() < 0.08
        text = self._say('go' if go else 'where', x=entity)
        return Turn(text, f'I do not know where the {entity} is.',
                    'go_unknown' if go else 'unknown')

    def _command(self) -> Turn:
        text, answer = make_command(self.rng, self.names)
        if self.split is None and self.rng.random() < 0.15:
            text = (text[0].lower() + text[1:]).rstrip('.')
        return Turn(text, answer, 'command')

    def _chat(self) -> Turn:
        return Turn(*make_chat(self.rng), 'chat')

    def _other(self) -> Turn:
        """Tell or ask a state, the battery level or the name of the user."""
        rng = self.rng
        topic, ask = rng.choice(('state', 'battery', 'name', 'noise')), rng.random() < 0.5
        if topic == 'noise':
            return Turn(self._say('noise', v=rng.randint(1, 99)), 'Noted.', 'ack')
        if topic == 'state':
            states = self.world.states
            if ask:
                entity = rng.choice(list(states)) if states else self.world.unknown_entity()
                answer = f'The {entity} is {states[entity]}.' if entity in states else \
                    f'I do not know the state of the {entity}.'
                return Turn(self._say('state_of', x=entity), answer, 'other')
            entity = self.world.unknown_entity()
            states[entity] = rng.choice(STATES)
            return Turn(self._say('state', x=entity, v=states[entity]), 'Noted.', 'ack')
        if topic == 'battery':
            if ask:
                level = self.world.battery
                answer = 'I do not know the battery level.' if level is None else \
                    f'The battery is at {level} percent.'
                return Turn(self._say('battery_level'), answer, 'other')
            self.world.battery = rng.randint(1, 99)
            return Turn(self._say('battery', v=self.world.battery), 'Noted.', 'ack')
        if ask:
            name = self.world.user
            answer = f'Your name is {name}.' if name else 'I do not know your name.'
            return Turn(self._say('who'), answer, 'other')
        self.world.user = rng.choice(NAMES)
        return Turn(self._say('name', v=self.world.user), 'Noted.', 'ack')
