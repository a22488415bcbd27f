# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A request while it is answered."""
from __future__ import annotations

from collections.abc import Generator

from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.raw_completion import RawText
from lfm_ros.engine.decoding.generation import Generation
from lfm_ros.engine.decoding.limits import Constraints
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.grammar.matcher import GrammarMatcher
from lfm_ros.engine.runtime.ort_runs import RunCancelled
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.text.tools import from_json
from lfm_ros.engine.text.tools import to_json
from lfm_ros.engine.text.tools import tool_error
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving import request_errors
from lfm_ros.serving.constraints import grammar_source
from lfm_ros.serving.constraints import GrammarPending
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.request import Request
from lfm_ros.serving.turn import Turn


class MustWaitForMemory(Exception):
    """There may be memory when the answers in progress are complete."""


class RunningRequest:
    """
    Answers one request, one run of the model at a time.

    :param sampling: how tokens are chosen; ``max_tokens`` the longest answer.
    :param others_running: whether others are in progress that may free memory when they end.
    """

    def __init__(self, request: Request, store: MissionStore, sampling: Sampling, max_tokens: int,
                 others_running: bool) -> None:
        self.request = request
        self.mission_id = request.query.mission_id
        self.turn: Turn | None = None
        self._store = store
        self._sampling = sampling
        self._limits = Limits(max_tokens, request.query.stop)
        self._others_running = others_running
        self._known = self.mission_id in store
        self._steps = self._work()
        store.memory.busy.add(self.mission_id)

    @property
    def decoding(self) -> bool:
        """Return whether it writes its answer; before, it reads the question."""
        return self.turn is not None and bool(self.turn.generation.ids)

    @property
    def needs_decode_step(self) -> bool:
        """Return whether it goes on by reading one token, which may be done in a batch."""
        return self.turn is not None and self.turn.generation.needs_decode_step

    @property
    def tokens_per_second(self) -> float:
        """Return the speed of the answer so far."""
        return self.turn.generation.tokens_per_second if self.turn else 0.0

    @property
    def generation(self) -> Generation:
        """Return the answer; there is none before the first run."""
        assert self.turn
        return self.turn.generation

    def limit_chunk(self, others_wait: bool) -> None:
        """Tell it whether answers wait while it reads."""
        if self.turn:
            self.turn.interleaved = others_wait

    def advance(self) -> bool:
        """
        Make the next run of the model and hand on the text.

        :returns: whether the answer is complete and committed.
        :raises BaseException: when the turn has failed; :meth:`fail` must follow.
        """
        try:
            self.request.emit(next(self._steps))
        except StopIteration:
            return True
        self.check()
        return False

    def check(self) -> None:
        """Raise when the request was cancelled or its time is over."""
        if self.request.cancelled:
            raise RunCancelled
        if self.request.expired:
            raise request_errors.too_late()

    def complete(self) -> None:
        """Answer the request."""
        assert self.turn
        self._store.memory.busy.discard(self.mission_id)
        answer = self.turn.generation
        self.request.complete(answer.text, answer.finish_reason,
                              self.turn.usage(self.request.queued),
                              tool_calls=answer.tool_calls,
                              choice_logprobs=self.turn.choice_logprobs)

    def fail(self, error: LfmError) -> None:
        """Undo the turn and answer the request with an error."""
        self.undo()
        self.refuse(error)

    def refuse(self, error: LfmError) -> None:
        """Answer the request with an error; the turn stays as it is."""
        turn = self.turn
        if turn:
            self.request.fail(error, turn.generation.text, turn.usage(self.request.queued))
        else:
            self.request.fail(error)

    def undo(self) -> None:
        """Leave the mission as it was before."""
        self._steps.close()
        if self.turn:
            self.turn.forget_images()
        if not self._known:
            self._store.discard(self.mission_id)
        self._store.memory.busy.discard(self.mission_id)

    def _work(self) -> Generator[str, None, None]:
        """Do all that the request needs; yields after every run of the model."""
        query, store = self.request.query, self._store
        self.check()
        try:
            constraints = self._constraints()
            if not (query.raw or self.mission_id in store):
                for _ in store.create(self.mission_id, self.request.cancel_token):
                    yield ''
            mission = self._mission()
            self.turn = turn = Turn(mission, query, self._sampling, self._limits,
                                    self.request.cancel_token, constraints)
            turn.interleaved = self._others_running
            store.memory.reserve_for_images(query.images, query.mission_id)
            yield from turn.prepare_images()
            store.memory.reserve(mission, turn.tokens_after)
        except LfmError as error:
            if error.code == ErrorCode.OVER_BUDGET and self._others_running:
                raise MustWaitForMemory from error
            raise
        yield from turn.steps()
        if not (query.aside or query.raw):
            store.commit(query.mission_id, mission)

    def _constraints(self) -> Constraints:
        """
        Return what the answer may be.

        :raises GrammarPending: when that is not compiled yet; the request knows the grammar then.
        """
        request, store = self.request, self._store
        query, tools = request.query, to_json(request.query.tools)
        if not (tools or query.raw) and query.mission_id in store:
            tools = store.get(query.mission_id).tools
        known = from_json(tools)
        source = grammar_source(query, known, store.model)
        if source is None:
            return Constraints()
        grammar = request.grammar
        if grammar is None or grammar.source != source or not grammar.usable:
            grammar = request.grammar = store.structured_output.grammar(source)
        if not grammar.done:
            raise GrammarPending
        return Constraints(GrammarMatcher.of(grammar), () if query.response_format.name else known)

    def _mission(self) -> Mission:
        """Return the mission that is asked, with the tools that it is to have."""
        query, store = self.request.query, self._store
        if query.raw:
            return RawText(query.mission_id, store.model, query.suffix)
        mission = store.get_or_create(query.mission_id)
        tools = to_json(query.tools)
        if tools and tools != mission.tools:
            mission = store.with_tools(mission, tools)
        if query.results and not mission.awaits_results:
            raise tool_error(f"mission '{query.mission_id}' expects no tool results, its last "
                             'answer called no tool: send a prompt')
        return mission
