# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep what a mission has told and asked so far, and choose what it speaks about next."""

import random
from typing import Optional

from entities import EntityMaker, Place


class World:
    """The truth of one mission; `now` is the number of the current turn."""

    def __init__(self, rng: random.Random, names: EntityMaker) -> None:
        self.rng = rng
        self.names = names
        self.now = 0
        self.places: dict[str, Place] = {}
        self.heard: dict[str, int] = {}
        self.updated: set[str] = set()
        self.asked: list[str] = []
        self.states: dict[str, str] = {}
        self.battery: Optional[int] = None
        self.user: Optional[str] = None

    def put(self, entity: str) -> Place:
        """Give an entity a new place, and return it."""
        if entity in self.places:
            self.updated.add(entity)
        self.places[entity] = self.names.place(entity, self.places.get(entity))
        self.heard[entity] = self.now
        return self.places[entity]

    def new_entity(self) -> str:
        """Return an entity without a place, perhaps one that was asked about before."""
        asked = [entity for entity in self.asked if entity not in self.places]
        if asked and self.rng.random() < 0.3:
            return self.rng.choice(asked)
        return self._unplaced(0.2)

    def unknown_entity(self) -> str:
        """Return an entity without a place to ask about; many share a word with a known one."""
        asked = [entity for entity in self.asked if entity not in self.places]
        if asked and self.rng.random() < 0.25:
            return self.rng.choice(asked)
        stated = [entity for entity in self.states if entity not in self.places]
        if stated and self.rng.random() < 0.2:
            return self.rng.choice(stated)
        entity = self._unplaced(0.3)
        self.asked.append(entity)
        return entity

    def known_entity(self) -> tuple[str, int]:
        """
        Return an entity with a place, and the turns since it was last heard of.

        One that was not heard of for long is chosen more often than others.
        """
        known = list(self.places)
        if self.updated and self.rng.random() < 0.25:
            known = sorted(self.updated)
        ages = [1 + self.now - self.heard[entity] for entity in known]
        entity = self.rng.choices(known, ages)[0]
        gap = max(0, self.now - self.heard[entity] - 1)
        self.heard[entity] = self.now
        return entity, gap

    def _unplaced(self, related_share: float) -> str:
        while True:
            related = self.rng.random() < related_share
            entity = self.names.related(self.places) if related else self.names.fresh()
            if entity not in self.places:
                return entity
