# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Choose the things that missions speak about, and the places where they are."""

import random
from typing import Iterable, NamedTuple, Optional

from words import (ADJECTIVES, is_held_out_entity, is_held_out_pair, made_up_word, NOUNS, ROOMS,
                   similar_word)

SPLITS = ('pair', 'entity', 'word', 'wording')
KNOWN_WORDS = frozenset(ADJECTIVES + NOUNS)
# In training more names hold made-up words than in the held-out missions: they are the harder
# ones, and many questions about what was never told are about a word like one that was.
MADE_UP_SHARE, TRAINED_MADE_UP_SHARE, SIMILAR_SHARE = 0.3, 0.45, 0.3


class Place(NamedTuple):
    """A waypoint number or a room name."""

    value: object

    @property
    def target(self) -> str:
        """Return the place as the goal of a movement: 'waypoint 7' or 'the kitchen'."""
        return f'waypoint {self.value}' if isinstance(self.value, int) else f'the {self.value}'

    @property
    def location(self) -> str:
        """Return the place with its preposition: 'at waypoint 7' or 'in the kitchen'."""
        return ('at ' if isinstance(self.value, int) else 'in ') + self.target

    @property
    def json(self) -> str:
        """Return the place as a member of a JSON command."""
        return f'"waypoint":{self.value}' if isinstance(self.value, int) else \
            f'"place":"{self.value}"'


class EntityMaker:
    """
    Draw entities and places for training (split None) or for one held-out split.

    'pair': trained entities at places they never had in training. 'entity': combinations of
    trained words that were never trained. 'word': names that hold a made-up word never trained.
    'wording': nothing about the entities is held out, only the sentences are.
    """

    def __init__(self, rng: random.Random, split: Optional[str] = None,
                 room_share: float = 0.1) -> None:
        if split is not None and split not in SPLITS:
            raise ValueError(f'unknown split {split!r}, expected one of {SPLITS}')
        self.rng = rng
        self.split = split
        self.room_share = room_share
        self.made_up_share = MADE_UP_SHARE if split else TRAINED_MADE_UP_SHARE

    def fresh(self) -> str:
        """Return an entity that belongs to the split."""
        while True:
            entity = self._compose()
            if self._belongs(entity):
                return entity

    def related(self, known: Iterable[str]) -> str:
        """Return an entity that shares a word with a known one, or a fresh one if none does."""
        known = list(known)
        for _ in range(150 if known else 0):
            entity = self._mutate(self.rng.choice(known))
            if entity not in known and self._belongs(entity):
                return entity
        return self.fresh()

    def waypoint(self) -> int:
        """Return a waypoint number from 1 to 300, more often one below 100."""
        return self.rng.randint(1, 99 if self.rng.random() < 0.6 else 300)

    def place(self, entity: str, other_than: Optional[Place] = None) -> Place:
        """Return a place for an entity that obeys the rule of held-out pairs."""
        while True:
            room = self.rng.random() < self.room_share
            place = Place(self.rng.choice(ROOMS) if room else self.waypoint())
            held_out = is_held_out_pair(entity, place.value)
            allowed = held_out == (self.split == 'pair') if self.split in (None, 'pair') else True
            if allowed and place != other_than:
                return place

    def _belongs(self, entity: str) -> bool:
        return self.split == 'word' or is_held_out_entity(entity) == (self.split == 'entity')

    def _compose(self) -> str:
        rng = self.rng
        adjective, noun = rng.choice(ADJECTIVES), rng.choice(NOUNS)
        if self.split == 'word' or (self.split != 'entity' and rng.random() < self.made_up_share):
            word = made_up_word(rng, self.split == 'word')
            return rng.choice((word, word, f'{adjective} {word}', f'{word} {noun}'))
        share = rng.random()
        if share < 0.5:
            return f'{adjective} {noun}'
        if share < 0.72:
            return noun
        if share < 0.84:
            return f'{noun} {self._label()}'
        if share < 0.92:
            return f'{rng.choice(ADJECTIVES)} {adjective} {noun}'
        return f'{rng.choice(NOUNS)} {noun}'

    def _label(self) -> str:
        share, letter = self.rng.random(), self.rng.choice('ABCDEFGHKLMNPRSTXYZ')
        if share < 0.5:
            return str(self.rng.randint(1, 30))
        return letter if share < 0.75 else f'{letter}{self.rng.randint(1, 30)}'

    def _mutate(self, entity: str) -> str:
        words = entity.split(' ')
        strange = [i for i, word in enumerate(words) if word not in KNOWN_WORDS and len(word) > 3]
        if self.split is None and strange and self.rng.random() < SIMILAR_SHARE:
            words[strange[0]] = similar_word(self.rng, words[strange[0]])
            return ' '.join(words)
        choice = self.rng.random()
        if len(words) == 1:
            return f'{self.rng.choice(ADJECTIVES)} {entity}' if choice < 0.7 else \
                f'{entity} {self._label()}'
        if choice < 0.4:
            last = self._label() if words[-1][-1].isdigit() else self.rng.choice(NOUNS)
            return ' '.join(words[:-1] + [last])
        if choice < 0.75:
            first = NOUNS if len(words[-1]) < 3 else ADJECTIVES
            return ' '.join([self.rng.choice(first)] + words[1:])
        return ' '.join(words[1:]) if len(words[-1]) > 3 else words[0]
