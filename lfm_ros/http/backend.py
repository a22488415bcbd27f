# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the endpoint needs of whatever runs the model."""
from __future__ import annotations

from abc import ABC
from abc import abstractmethod
import asyncio
from collections.abc import AsyncIterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfm_ros.engine.text.tools import Tool
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.past_turn import PastTurn
from lfm_ros.serving.query import Query


@dataclass(frozen=True)
class ServedModel:
    """
    The model behind the endpoint.

    :param context_length: in tokens.
    :param vision: whether it sees.
    """

    name: str
    context_length: int
    vision: bool


class Reply(ABC):
    """An answer on its way."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[str | Answer] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    @abstractmethod
    def cancel(self) -> None:
        """Have it end within a token; its turn is undone."""

    def put(self, item: str | Answer) -> None:
        """Take a piece of its text, or in the end the answer; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)
        except RuntimeError:
            pass  # the endpoint has shut down: nobody is waiting

    async def pieces(self) -> AsyncIterator[str | Answer]:
        """Return the pieces of its text as they come, and then the answer."""
        while True:
            item = await self._arrived.get()
            if item:
                yield item
            if isinstance(item, Answer):
                return

    async def answer(self) -> Answer:
        """Return the answer."""
        async for item in self.pieces():
            if isinstance(item, Answer):
                return item
        raise AssertionError('the answer comes last')


class Backend(ABC):
    """
    Runs the model, and keeps the missions.

    Its methods raise LfmError.

    :ivar model: that it runs.
    """

    model: ServedModel

    @abstractmethod
    def ask(self, query: Query) -> Reply:
        """Ask; returns at once."""

    @abstractmethod
    async def add_turns(self, mission_id: str, turns: Sequence[PastTurn], system_prompt: str = '',
                        tools: Sequence[Tool] = ()) -> None:
        """Add turns that were held elsewhere, see :func:`lfm_ros.serving.past_turn.add_turns`."""

    @abstractmethod
    async def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""

    @abstractmethod
    async def rewind(self, mission_id: str, turns: int) -> None:
        """Take a mission back to the end of an earlier turn."""

    @abstractmethod
    async def delete(self, mission_id: str) -> None:
        """Delete a mission."""

    @abstractmethod
    async def missions(self) -> list[str]:
        """Return the names of all missions."""

    async def score(self, ids_or_text: str | list[int]) -> list[dict[str, Any]]:
        """
        Weigh each token of a text.

        :returns: for each ``id``, ``text``, ``logprob`` (None for the first one), and ``best``:
            id, text and log-probability of what is likeliest there.
        """
        raise LfmError(ErrorCode.UNSUPPORTED, 'log-probabilities and token ids are not to be had '
                       'here: send texts without logprobs')
