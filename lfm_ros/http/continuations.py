# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which mission goes on with a conversation that a client sends as a whole each time."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from contextlib import asynccontextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
import itertools
import uuid

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.http.backend import Backend
from lfm_ros.http.conversation import Conversation

PREFIX = 'openai-'
DEFAULT_MOST = 16  # missions that are kept to go on with


@dataclass
class _Kept:
    """
    A mission that goes on with conversations.

    :param digests: of what it was after its beginning and after each turn.
    :param unsure: it may hold a turn that nobody received, since the client hung up.
    """

    name: str
    digests: list[str] = field(default_factory=list)
    busy: bool = False
    unsure: bool = False
    used: int = 0


class Continuations:
    """
    Keeps missions, and finds the one whose beginning is the longest part of a conversation.

    So only what is new is read: the state of the rest is there. A mission that has gone on in
    another way is copied and taken back. For each beginning (system prompt and tools) one mission
    without turns is kept, of which others are copies.

    :param most: missions that are kept; those that were used longest ago are deleted.
    """

    def __init__(self, backend: Backend, most: int = DEFAULT_MOST) -> None:
        self._backend = backend
        self._most = most
        self._kept: dict[str, _Kept] = {}
        self._clock = itertools.count(1)
        self._lock = asyncio.Lock()
        self._owner = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)

    async def forget_old(self) -> None:
        """Delete what an earlier process left behind: its contents are no longer known."""
        for name in await self._backend.missions():
            if name.startswith(PREFIX):
                await self._backend.delete(name)

    @asynccontextmanager
    async def mission_for(self, conversation: Conversation) -> AsyncIterator[_Kept]:
        """
        Give a mission that holds all turns of a conversation, for nobody else to use meanwhile.

        Whoever gets an answer adds the digest behind it to ``digests``, in a new list.
        """
        async with self._lock:
            kept = await self._find(conversation)
            kept.busy, kept.used = True, next(self._clock)
        before = kept.digests
        try:
            yield kept
        finally:
            kept.busy, kept.unsure = False, kept.digests is before

    async def forget_all(self) -> None:
        """Delete all missions that are kept."""
        for name in list(self._kept):
            await self._drop(name)

    async def _find(self, conversation: Conversation) -> _Kept:
        digests = conversation.digests()
        found = [(count, self._is_ready(kept, count), kept) for kept in self._kept.values()
                 if (count := _common(kept.digests, digests))]
        if found:
            count, ready, best = max(found, key=lambda some: some[:2])
        else:
            count, ready, best = 1, False, await self._new(digests[0], conversation)
        if not ready:
            best = await self._copy(best, count)
        elif best.unsure:
            await self._backend.rewind(best.name, count - 1)
            best.unsure = False
        missing = conversation.turns[count - 1:]
        if missing:
            await self._retry(lambda: self._backend.add_turns(best.name, missing), best.name)
            best.digests = digests
        return best

    @staticmethod
    def _is_ready(kept: _Kept, count: int) -> bool:
        """Return whether it can go on behind its first turns itself."""
        return not kept.busy and len(kept.digests) == count > 1

    async def _new(self, digest: str, conversation: Conversation) -> _Kept:
        name = self._name()
        await self._retry(lambda: self._backend.add_turns(
            name, (), conversation.system_prompt, conversation.tools), '')
        self._kept[name] = _Kept(name, [digest], used=next(self._clock))
        return self._kept[name]

    async def _copy(self, kept: _Kept, count: int) -> _Kept:
        name = self._name()
        kept.used = next(self._clock)
        await self._retry(lambda: self._backend.fork(kept.name, name), kept.name)
        copy = self._kept[name] = _Kept(name, kept.digests[:count], used=next(self._clock))
        if count < len(kept.digests) or kept.busy or kept.unsure:  # it may have another turn
            await self._backend.rewind(name, count - 1)
        return copy

    async def _retry(self, work: Callable[[], Awaitable[None]], needed: str) -> None:
        """Do something for which there may have to be fewer missions."""
        while len(self._kept) >= self._most and await self._drop_oldest(needed):
            pass
        while True:
            try:
                await work()
                return
            except LfmError as error:
                if error.code not in (ErrorCode.TOO_MANY_MISSIONS, ErrorCode.OVER_BUDGET) or \
                        not await self._drop_oldest(needed):
                    raise

    async def _drop_oldest(self, needed: str) -> bool:
        idle = [kept for kept in self._kept.values() if not kept.busy and kept.name != needed]
        if not idle:
            return False
        await self._drop(min(idle, key=lambda kept: kept.used).name)
        return True

    async def _drop(self, name: str) -> None:
        self._kept.pop(name)
        with suppress(LfmError):  # it was deleted by someone else, say
            await self._backend.delete(name)

    def _name(self) -> str:
        return f'{PREFIX}{self._owner}-{next(self._numbers)}'


def _common(some: list[str], others: list[str]) -> int:
    """Return how many digests two lists begin with in common."""
    pairs = zip(some, others)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(some), len(others)))
