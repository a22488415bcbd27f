# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model in this very process."""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from lfm_ros.engine.sampling import log_softmax
from lfm_ros.engine.text.tools import Tool
from lfm_ros.http.backend import Backend
from lfm_ros.http.backend import Reply
from lfm_ros.http.backend import ServedModel
from lfm_ros.serving.past_turn import add_turns
from lfm_ros.serving.past_turn import PastTurn
from lfm_ros.serving.query import Query
from lfm_ros.serving.scheduler import Scheduler
import numpy as np


class EngineReply(Reply):
    """An answer of a scheduler."""

    def __init__(self, scheduler: Scheduler, query: Query) -> None:
        super().__init__()
        self._request = scheduler.submit(query, lambda delta: self.put(delta.text), self.put)

    def cancel(self) -> None:
        """Have it end within a token."""
        self._request.cancel()


class EngineBackend(Backend):
    """A scheduler with its missions."""

    def __init__(self, scheduler: Scheduler, name: str = '') -> None:
        self._scheduler, self._store = scheduler, scheduler.store
        model = self._store.model
        self.model = ServedModel(name or model.name, model.context_length, bool(model.vision))

    def ask(self, query: Query) -> Reply:
        """Ask; returns at once."""
        return EngineReply(self._scheduler, query)

    async def add_turns(self, mission_id: str, turns: Sequence[PastTurn], system_prompt: str = '',
                        tools: Sequence[Tool] = ()) -> None:
        """Add turns that were held elsewhere."""
        await self._work(lambda: add_turns(self._store, mission_id, turns, system_prompt, tools),
                         mission_id)

    async def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""
        await self._work(lambda: self._store.fork(mission_id, new_mission_id), mission_id,
                         new_mission_id)

    async def rewind(self, mission_id: str, turns: int) -> None:
        """Take a mission back to the end of an earlier turn."""
        await self._work(lambda: self._store.rewind(mission_id, turns), mission_id)

    async def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        await self._work(lambda: self._store.delete(mission_id), mission_id)

    async def missions(self) -> list[str]:
        """Return the names of all missions."""
        return [info.mission_id for info in self._store.list()]

    async def score(self, ids_or_text: str | list[int]) -> list[dict[str, Any]]:
        """Return how likely each token of a text is, see :class:`Backend`."""
        found: list[dict[str, Any]] = await self._work(lambda: self._score(ids_or_text))
        return found

    async def _work(self, work: Callable[[], Any], *missions: str) -> Any:
        return await asyncio.wrap_future(self._scheduler.submit_job(work, *missions))

    def _score(self, given: str | list[int]) -> list[dict[str, Any]]:
        model = self._store.model
        ids = model.tokenizer.encode(given) if isinstance(given, str) else given
        tokens: list[dict[str, Any]] = []
        state, before = model.new_state(), None
        for chunk in model.chunks(ids):
            logprobs = log_softmax(model.runner.run(state, chunk, every=True))
            tokens += map(self._scored, chunk, [before, *logprobs])
            before = logprobs[-1]
        return tokens

    def _scored(self, token: int, logprobs: np.ndarray | None) -> dict[str, Any]:
        decode = self._store.model.tokenizer.decode
        found: dict[str, Any] = {'id': token, 'text': decode([token]), 'logprob': None,
                                 'best': None}
        if logprobs is not None:
            best = int(logprobs.argmax())
            found.update(logprob=float(logprobs[token]),
                         best=(best, decode([best]), float(logprobs[best])))
        return found
