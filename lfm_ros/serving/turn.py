# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A turn in progress, as a sequence of stages."""
from __future__ import annotations

from collections.abc import Generator as Steps
from dataclasses import asdict
from dataclasses import replace
import json
import time

from lfm_ros.conversation.cached_transcript import Savepoint
from lfm_ros.conversation.entry import RESULTS
from lfm_ros.conversation.entry import to_prompt
from lfm_ros.conversation.entry import TURN
from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.choices import score_choices
from lfm_ros.engine.decoding.generation import Generation
from lfm_ros.engine.decoding.limits import Constraints
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.grammar.matcher import FixedAnswer
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.state import Mark
from lfm_ros.engine.sampling import Sampler
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.serving.answer import Usage
from lfm_ros.serving.query import Query
import numpy as np

# Tokens of a prompt that are read in one chunk while other answers wait: they take 0.1 to 0.2 s of
# two cores with LFM2-350M.
INTERLEAVED_CHUNK = 24


class Turn:
    """
    A turn in progress: it commits whole, or the mission is as it was.

    :param mission: with the tools that the query wants.
    :param limits: when the answer ends; the tokens that close it are reserved here.
    :param constraints: what the answer may be.
    :ivar generation: the answer as far as it is written.
    :ivar interleaved: whether other answers wait while it reads; its chunks are then short.
    :ivar prompt_tokens: tokens read for this turn; ``cached_tokens``: those known before.
    :ivar choice_logprobs: of the choices of the query, where it wants them.
    :raises LfmError: when the question does not fit, or asks for what the model cannot do.
    """

    def __init__(self, mission: Mission, query: Query, sampling: Sampling, limits: Limits,
                 cancel_token: CancelToken | None = None,
                 constraints: Constraints = Constraints()) -> None:
        self._mission = mission
        self._query = query
        self._images: list[PreparedImage] = []
        if query.images:
            mission.model.require_vision()  # refuses a text model
        self._message = self._encode()
        self._cancel_token = cancel_token
        self._stop = limits.stop
        self._chosen = sampling
        self._wanted = limits.max_tokens
        self._forgotten_before = mission.forgotten
        limits = Limits(limits.max_tokens, limits.stop, mission.closing_tokens)
        self.generation = Generation(mission.model, mission.state, sampling, limits, cancel_token)
        self.generation.constraints = constraints
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.choice_logprobs: list[float] = []
        self.time_to_first_token = 0.0
        self.image_seconds = 0.0
        self.interleaved = False

    @property
    def tokens_after(self) -> int:
        """How many tokens the mission may have after this turn."""
        return len(self._mission.ids) + \
            self._mission.message_tokens(len(self._message), self._wanted)

    def usage(self, seconds_queued: float) -> Usage:
        """Return what the answer has cost so far."""
        answer = self.generation
        return Usage(self.prompt_tokens, self.cached_tokens, len(answer.ids),
                     sum(prepared.tokens for prepared in self._images), self.time_to_first_token,
                     answer.tokens_per_second, seconds_queued,
                     self._mission.forgotten - self._forgotten_before,
                     sum(prepared.tiles for prepared in self._images), self.image_seconds,
                     answer.forced)

    def steps(self) -> Steps[str, None, None]:
        """
        Work until the turn is committed; closing the generator earlier undoes it.

        The stages, in this order; each yields after every run of the model, with the text that
        became certain (empty before the answer).

        :raises LfmError: when an image cannot be used, or something does not fit.
        """
        mission = self._mission
        started = time.monotonic()
        # What is evicted and what is read here stays, whatever becomes of this turn.
        self.cached_tokens = mission.state.position
        yield from self._make_room()
        yield from self._catch_up()
        point, committed = mission.save(), False
        try:
            logits = yield from self._prefill(point)
            logits = yield from self._weigh_choices(logits)
            asked = mission.state.mark() if self._stop else None
            yield from self._decode(logits, started)
            if not (self._query.aside or self._query.raw):
                self._commit(asked)
                committed = True
        finally:
            if not committed:
                mission.undo(point)

    def prepare_images(self) -> Steps[str, None, None]:
        """
        Decode, resize and encode the images.

        It comes before :meth:`steps`; nothing changes in the mission.

        :returns: after every step of the work, an empty text.
        :raises LfmError: when an image cannot be used, or does not fit.
        """
        if not self._query.images:
            return
        encoder = self._mission.model.require_vision()
        for image in self._query.images:
            started = time.monotonic()
            self._images.append(encoder.preprocess(image))
            self.image_seconds += time.monotonic() - started
            yield ''
        self._message = self._encode()
        for prepared in self._images:
            started = time.monotonic()
            for _ in self._mission.image_features.encode_tiles(prepared, self._cancel_token):
                self.image_seconds += time.monotonic() - started
                yield ''
                started = time.monotonic()
            self.image_seconds += time.monotonic() - started

    def forget_images(self) -> None:
        """Let go of what was looked at for a turn that did not come about."""
        self._mission.image_features.clear()

    def _make_room(self) -> Steps[str, None, None]:
        """Drop the oldest turns where the context would be too long."""
        mission = self._mission
        for _ in mission.evict_turns(len(self._message), self._wanted, self._cancel_token):
            yield ''
        self.cached_tokens = min(self.cached_tokens, mission.state.position)

    def _catch_up(self) -> Steps[str, None, None]:
        """Read what the mission has not read yet: observations, or all of it after a restart."""
        mission = self._mission
        while mission.pending_sizes:
            for _ in mission.prefetch(self._cancel_token):
                yield ''
            mission.prefill_next(self._cancel_token)
            self._count_cached()
            yield ''

    def _prefill(self, point: Savepoint) -> Steps[str, None, np.ndarray]:
        """Read the question; return the float32 logits ``[vocabulary]`` after it."""
        mission = self._mission
        mission.add_question(self._message, self._images, bool(self._query.results), self._asks)
        self.prompt_tokens = len(mission.ids) - self.cached_tokens
        while True:
            if self.interleaved and mission.state.position >= point.ids:
                mission.split_next(INTERLEAVED_CHUNK)
            logits = mission.prefill_next(self._cancel_token)
            self._count_cached()
            if not mission.pending_sizes:
                return logits
            yield ''

    def _decode(self, logits: np.ndarray, started: float) -> Steps[str, None, None]:
        """Generate the answer, token by token."""
        for delta in self.generation.steps(logits, self._mission.ids):
            self.time_to_first_token = self.time_to_first_token or \
                time.monotonic() - started + self.image_seconds
            yield delta

    def _count_cached(self) -> None:
        """Take a run into account that may have read what was known, see Mission.doubt."""
        mission = self._mission
        start = mission.state.position - abs(mission.chunk_sizes[-1])
        if start < self.cached_tokens:
            self.cached_tokens = start
            self.prompt_tokens = len(mission.ids) - start

    @property
    def _asks(self) -> bool:
        """Return whether the user says something, besides what functions gave back."""
        return bool(self._query.prompt or self._query.images)

    def _encode(self) -> list[int]:
        """Return the ids of what is to be answered."""
        return self._mission.encode(self._query.prompt, self._images, self._query.results)

    def _weigh_choices(self, logits: np.ndarray) -> Steps[str, None, np.ndarray]:
        """Where it is asked for: compute how likely each choice is, and hold the answer to one."""
        if not self._query.response_format.choice_logprobs:
            return logits
        model, choices = self._mission.model, self._query.response_format.choices
        logits = logits.copy()  # the buffer is used for what follows
        scoring = score_choices(model, self._mission.state, logits, choices, self._cancel_token)
        while True:
            try:
                next(scoring)
            except StopIteration as end:
                self.choice_logprobs = end.value
                break
            yield ''
        sampling = replace(self._chosen, repetition_penalty=1.0)
        chosen = Sampler(sampling, (), len(choices)).choose(np.array(self.choice_logprobs))
        self.generation.constraints = Constraints(
            FixedAnswer(model.tokenizer.encode(choices[chosen])))
        return logits

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
