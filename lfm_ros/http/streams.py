# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers on their way to a client, who may hang up."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from collections.abc import AsyncIterator
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar, Union

from fastapi import Request
from fastapi.responses import StreamingResponse
from lfm_ros.http.backend import Reply
from lfm_ros.http.errors import ApiError
from lfm_ros.http.errors import of_code
from lfm_ros.http.requests import Generation
from lfm_ros.http.responses import ChatAnswer
from lfm_ros.http.responses import event
from lfm_ros.http.responses import TextAnswer
from lfm_ros.serving.answer import Answer
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

# Pieces of the text of an answer, and then the answer.
Pieces = AsyncIterator[Union[str, Answer]]
T = TypeVar('T')


class EventStream(StreamingResponse):
    """A stream of events, which is closed when nobody reads it any more."""

    def __init__(self, first: bytes, others: AsyncGenerator[bytes, None]) -> None:
        super().__init__(self._in_order(first, others), media_type='text/event-stream',
                         headers={'Cache-Control': 'no-cache'})
        self._others = others

    @classmethod
    async def begin(cls, events: AsyncGenerator[bytes, None]) -> EventStream:
        """
        Return a stream whose first event is there.

        :raises ApiError: when there is none; nothing was sent by then, so it gets its status.
        """
        return cls(await anext(events), events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._others.aclose()

    @staticmethod
    async def _in_order(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield first
        async for each in others:
            yield each


async def pieces_of(reply: Reply) -> AsyncGenerator[str | Answer, None]:
    """
    Return the pieces of an answer and then the answer; it is cancelled when this is closed.

    :raises ApiError: when it failed.
    """
    try:
        async for piece in reply.pieces():
            if isinstance(piece, Answer) and piece.error_code:
                raise of_code(piece.error_code, piece.error_msg)
            yield piece
    finally:
        reply.cancel()  # of no effect once it was answered


async def whole(pieces: Pieces) -> tuple[str, Answer]:
    """Return all text and the answer."""
    said: list[str] = []
    async for piece in pieces:
        if isinstance(piece, Answer):
            return ''.join(said), piece
        said.append(piece)
    raise AssertionError('the answer comes last')


async def events_of(pieces: Pieces, answer: ChatAnswer | TextAnswer, body: Generation
                    ) -> AsyncGenerator[bytes, None]:
    """
    Return the events of a stream; an error behind the first one is an event, too.

    :raises ApiError: when there is not even a first piece.
    """
    piece = await anext(pieces)
    for found in answer.first_chunks():
        yield event(found)
    try:
        while not isinstance(piece, Answer):
            yield event(answer.chunk(piece))
            piece = await anext(pieces)
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        for found in answer.last_chunks(piece, with_usage):
            yield event(found)
    except ApiError as error:
        yield event(error.body())
    yield event('[DONE]')


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of some work; end it when the client hangs up."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_end(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, 'the client hung up')
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task  # what it has to tidy up


async def _wait_for_end(request: Request) -> None:
    while (await request.receive())['type'] != 'http.disconnect':
        pass
