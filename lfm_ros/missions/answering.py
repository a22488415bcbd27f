# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A turn of a mission while it is in progress."""
from __future__ import annotations

from collections.abc import Generator as Steps
from dataclasses import asdict
from dataclasses import replace
import json
import time

from lfm_ros.engine.choices import score_choices
from lfm_ros.engine.generation import Generation
from lfm_ros.engine.generation import Limits
from lfm_ros.engine.generation import Rules
from lfm_ros.engine.matcher import FixedAnswer
from lfm_ros.engine.picture import Picture
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.sampling import Sampler
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.state import Mark
from lfm_ros.missions.entry import RESULTS
from lfm_ros.missions.entry import to_prompt
from lfm_ros.missions.entry import TURN
from lfm_ros.missions.mission import Mission
from lfm_ros.missions.request import Query
from lfm_ros.missions.request import Usage
import numpy as np

# Tokens of a prompt that are read in one call while other answers wait: they take 0.1 to 0.2 s of
# two cores with LFM2-350M.
HURRIED_CALL = 24


class Answering:
    """
    A turn in progress: it commits whole, or the mission is as it was.

    :param mission: with the tools that the query wants.
    :param limits: when the answer ends; its ``room`` is filled in here.
    :param rules: what the answer may be.
    :ivar generation: the answer as far as it is written.
    :ivar hurried: whether others wait while it reads; its calls are then short ones.
    :ivar prompt_tokens: tokens read for this turn; ``cached_tokens``: those known before.
    :ivar choice_logprobs: of the choices of the query, where it wants them.
    :raises LfmError: when the question does not fit, or asks for what the model cannot do.
    """

    def __init__(self, mission: Mission, query: Query, sampling: Sampling, limits: Limits,
                 interrupt: Interrupt | None = None, rules: Rules = Rules()) -> None:
        self._mission = mission
        self._query = query
        self._pictures: list[Picture] = []
        if query.images:
            mission.model.sight()  # refuses a text model
        self._words = self._encode()
        self._interrupt = interrupt
        self._stop = limits.stop
        self._chosen = sampling
        self._wanted = limits.max_tokens
        self._forgotten_before = mission.forgotten
        limits = Limits(limits.max_tokens, limits.stop, mission.closing_tokens)
        self.generation = Generation(mission.model, mission.state, sampling, limits, interrupt)
        self.generation.rules = rules
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.choice_logprobs: list[float] = []
        self.time_to_first_token = 0.0
        self.image_seconds = 0.0
        self.hurried = False

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
                     sum(picture.tiles for picture in pictures), self.image_seconds,
                     answer.forced)

    def look(self) -> Steps[str, None, None]:
        """
        Take the images in: decode, resize and encode them.

        It comes before :meth:`steps`; nothing that is said in the mission changes.

        :returns: after every piece of the work, an empty text.
        :raises LfmError: when an image cannot be used, or does not fit.
        """
        if not self._query.images:
            return
        sight = self._mission.model.sight()
        for image in self._query.images:
            started = time.monotonic()
            self._pictures.append(sight.take_in(image))
            self.image_seconds += time.monotonic() - started
            yield ''
        self._words = self._encode()
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

    def steps(self) -> Steps[str, None, None]:
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
            self._count_cached()
            yield ''
        point = mission.save()
        committed = False
        try:
            mission.add_question(self._words, self._pictures, bool(self._query.results),
                                 self._asks)
            self.prompt_tokens = len(mission.ids) - self.cached_tokens
            while True:
                if self.hurried and mission.state.position >= point.ids:
                    mission.split_next(HURRIED_CALL)
                logits = mission.read_next(self._interrupt)
                self._count_cached()
                if not mission.unread:
                    break
                yield ''
            if self._query.form.choice_logprobs:
                logits = logits.copy()  # the buffer is used for what follows
                yield from self._weigh_choices(logits)
            asked = mission.state.mark() if self._stop else None
            for piece in self.generation.steps(logits, mission.ids):
                self.time_to_first_token = self.time_to_first_token or \
                    time.monotonic() - started + self.image_seconds
                yield piece
            if not (self._query.aside or self._query.raw):
                self._commit(asked)
                committed = True
        finally:
            if not committed:
                mission.undo(point)

    def _count_cached(self) -> None:
        """Take a call into account that may have read what was known, see Mission.doubt."""
        mission = self._mission
        start = mission.state.position - abs(mission.calls[-1])
        if start < self.cached_tokens:
            self.cached_tokens = start
            self.prompt_tokens = len(mission.ids) - start

    @property
    def _asks(self) -> bool:
        """Tell whether the user says something, besides what functions gave back."""
        return bool(self._query.prompt or self._query.images)

    def _encode(self) -> list[int]:
        """Return the ids of what is to be answered."""
        return self._mission.encode(self._query.prompt, self._pictures, self._query.results)

    def _weigh_choices(self, logits: np.ndarray) -> Steps[str, None, None]:
        """See how likely each choice is, and settle on one of them by that."""
        model, choices = self._mission.model, self._query.form.choices
        scoring = score_choices(model, self._mission.state, logits, choices, self._interrupt)
        while True:
            try:
                next(scoring)
            except StopIteration as end:
                self.choice_logprobs = end.value
                break
            yield ''
        sampling = replace(self._chosen, repetition_penalty=1.0)
        chosen = Sampler(sampling, (), len(choices)).choose(np.array(self.choice_logprobs))
        self.generation.rules = Rules(FixedAnswer(model.tokenizer.encode(choices[chosen])))

    def _commit(self, asked: Mark | None) -> None:
        """Make it a turn of the mission."""
        query, answer = self._query, self.generation
        kind, prompt = (RESULTS, to_prompt(query.results, query.prompt)) if query.results else \
            (TURN, query.prompt)
        sampling = json.dumps(asdict(self._chosen))
        if answer.stopped_by_text and asked:
            self._mission.commit_text(prompt, answer, asked, sampling, kind)
        else:
            self._mission.commit_ids(prompt, answer, sampling, kind)
