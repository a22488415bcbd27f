# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make missions with pictures: shown once, asked about at once and many turns later."""

import random
from typing import Callable, Iterator, NamedTuple

from missions import Mission, MissionMaker, Turn
from pictures import Patches
from questions import Asker, Question, SHOWN
from scenes import Scene

LONGEST_GAP, TRAINED_LONGEST_GAP = 6, 14


class Sight(NamedTuple):
    """A scene and its picture."""

    scene: Scene
    patches: Patches

    @property
    def tokens(self) -> int:
        """Return how many image tokens stand for the picture."""
        return self.patches.rows * self.patches.columns // 4


Camera = Callable[[], Sight]


class SightMaker:
    """Put pictures and questions about them between the turns of ordinary missions."""

    def __init__(self, rng: random.Random, missions: MissionMaker, camera: Camera,
                 longest_gap: int = LONGEST_GAP) -> None:
        self.rng = rng
        self.missions = missions
        self.camera = camera
        self.asker = Asker(rng)
        self.longest_gap = longest_gap

    def mission(self, tokens: int) -> Mission:
        """Return a mission of about that many tokens; the last picture is the one that counts."""
        rng = self.rng
        ordinary = self.missions.mixed(max(2, tokens // 28))
        others = iter(ordinary.turns)
        made: list[Turn] = []
        if rng.random() < 0.15:
            made.append(Turn(*self.asker.ask_unseen()))
        made += self._next(others, rng.choice((0, 0, 1, 2, 3)))
        left = tokens - 28 * len(made)
        while left > 80:
            sight = self.camera()
            block = [self._show(sight)]
            for _ in range(rng.randint(0, 4)):
                gap = rng.choice((0, 0, rng.randint(1, self.longest_gap)))
                block += self._next(others, gap)
                block.append(_turn(self._ask(sight, block), len(block) - 1))
            made += block
            left -= sight.tokens + 26 * len(block)
        return Mission(ordinary.system, made)

    def drill(self, tokens: int) -> Mission:
        """Return a dense exercise of looking: pictures with many questions each."""
        made: list[Turn] = []
        left = tokens
        while left > 80:
            sight = self.camera()
            block = [self._show(sight)]
            for _ in range(self.rng.randint(1, 5)):
                block.append(_turn(self._ask(sight, block), 0))
            made += block
            left -= sight.tokens + 26 * len(block)
        return Mission(None, made)

    def _ask(self, sight: Sight, block: list[Turn]) -> Question:
        """
        Return a question whose answer is not yet among the turns, if one is found soon.

        A model that may repeat itself does not learn to look.
        """
        said = {turn.answer for turn in block}
        for _ in range(4):
            question = self.asker.ask(sight.scene, later=True)
            if question.answer not in said:
                break
        return question

    def _show(self, sight: Sight) -> Turn:
        if self.rng.random() < 0.2:
            return Turn(self.rng.choice(SHOWN), 'Noted.', 'shown', picture=sight)
        question = self.asker.ask(sight.scene, later=False)
        return _turn(question, 0)._replace(picture=sight)

    @staticmethod
    def _next(turns: Iterator[Turn], count: int) -> list[Turn]:
        return [turn for turn, _ in zip(turns, range(count))]


def _turn(question: Question, gap: int) -> Turn:
    return Turn(question.text, question.answer, question.kind, gap)
