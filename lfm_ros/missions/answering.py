# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A turn of a mission while it is in progress."""
from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence
from dataclasses import asdict
import json
import time

from lfm_ros.engine.generation import Generation
from lfm_ros.engine.generation import Limits
from lfm_ros.engine.picture import ImageSource
from lfm_ros.engine.picture import Picture
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.sampling import Sampling
from lfm_ros.missions.mission import Mission
from lfm_ros.missions.request import Usage

# Tokens of a prompt that are read in one call while other answers wait: they take 0.1 to 0.2 s of
# two cores with LFM2-350M.
HURRIED_CALL = 24


class Answering:
    """
    A turn in progress: it commits whole, or the mission is as it was.

    :param limits: when the answer ends; its ``room`` is filled in here.
    :param aside: forget the turn afterwards.
    :param images: to look at, by :meth:`look`.
    :ivar generation: the answer as far as it is written.
    :ivar hurried: whether others wait while it reads; its calls are then short ones.
    :ivar prompt_tokens: tokens read for this turn; ``cached_tokens``: those known before.
    :raises LfmError: when the question does not fit.
    """

    def __init__(self, mission: Mission, prompt: str, sampling: Sampling, limits: Limits,
                 aside: bool = False, interrupt: Interrupt | None = None,
                 images: Sequence[ImageSource] = ()) -> None:
        self._mission = mission
        self._prompt = prompt
        self._words = mission.encode(prompt)
        self._aside = aside
        self._interrupt = interrupt
        self._stop = limits.stop
        self._sampling = json.dumps(asdict(sampling))
        self._wanted = limits.max_tokens
        self._forgotten_before = mission.forgotten
        limits = Limits(limits.max_tokens, limits.stop, mission.closing_tokens)
        self.generation = Generation(mission.model, mission.state, sampling, limits, interrupt)
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.time_to_first_token = 0.0
        self.image_seconds = 0.0
        self.hurried = False
        self._images = images
        self._pictures: list[Picture] = []
        if images:
            mission.model.sight()  # refuses a text model

    @property
    def most_tokens(self) -> int:
        """Return how long the mission may become by this turn."""
        return len(self._mission.ids) + self._mission.around(len(self._words), self._wanted)

    def usage(self, seconds_queued: float) -> Usage:
        """Return what the answer has cost so far."""
        answer = self.generation
        pictures = self._pictures
        return Usage(self.prompt_tokens, self.cached_tokens, len(answer.ids),
                     sum(picture.tokens for picture in pictures), self.time_to_first_token,
                     answer.tokens_per_second, seconds_queued,
                     self._mission.forgotten - self._forgotten_before,
                     sum(picture.tiles for picture in pictures), self.image_seconds)

    def look(self) -> Generator[str, None, None]:
        """
        Take the images in: decode, resize and encode them.

        It comes before :meth:`steps`; nothing that is said in the mission changes.

        :returns: after every piece of the work, an empty text.
        :raises LfmError: when an image cannot be used, or does not fit.
        """
        if not self._images:
            return
        sight = self._mission.model.sight()
        for image in self._images:
            started = time.monotonic()
            self._pictures.append(sight.take_in(image))
            self.image_seconds += time.monotonic() - started
            yield ''
        self._words = self._mission.encode(self._prompt, self._pictures)
        for picture in self._pictures:
            started = time.monotonic()
            for _ in self._mission.sight.look(picture, self._interrupt):
                self.image_seconds += time.monotonic() - started
                yield ''
                started = time.monotonic()
            self.image_seconds += time.monotonic() - started

    def forget_images(self) -> None:
        """Let go of what was looked at for a turn that did not come about."""
        self._mission.sight.clear()

    def steps(self) -> Generator[str, None, None]:
        """
        Work until the turn is committed; closing the generator earlier undoes it.

        :returns: after every call of the model, the text that became certain.
        """
        mission, started = self._mission, time.monotonic()
        # Making room and reading what was left unread stays, whatever becomes of this turn.
        self.cached_tokens = mission.state.position
        for _ in mission.make_room(len(self._words), self._wanted, self._interrupt):
            yield ''
        self.cached_tokens = min(self.cached_tokens, mission.state.position)
        while mission.unread:
            for _ in mission.look_ahead(self._interrupt):
                yield ''
            mission.read_next(self._interrupt)
            yield ''
        point = mission.save()
        committed = False
        try:
            mission.add_question(self._words, self._pictures)
            self.prompt_tokens = len(mission.ids) - self.cached_tokens
            while True:
                if self.hurried:
                    mission.split_next(HURRIED_CALL)
                logits = mission.read_next(self._interrupt)
                if not mission.unread:
                    break
                yield ''
            asked = mission.state.mark() if self._stop else None
            for piece in self.generation.steps(logits, mission.ids):
                self.time_to_first_token = self.time_to_first_token or \
                    time.monotonic() - started + self.image_seconds
                yield piece
            if not self._aside:
                if self.generation.stopped_by_text and asked:
                    mission.commit_text(self._prompt, self.generation.text, asked,
                                        self._sampling)
                else:
                    mission.commit_ids(self._prompt, self.generation, self._sampling)
                committed = True
        finally:
            if not committed:
                mission.undo(point)
