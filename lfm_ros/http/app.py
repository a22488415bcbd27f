# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The application: what is served at which path."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextlib import asynccontextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
import time
from typing import Any, Union

from fastapi import FastAPI
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.responses import Response
from lfm_ros.errors import LfmError
from lfm_ros.http import validation
from lfm_ros.http.backend import Backend
from lfm_ros.http.continuations import Continuations
from lfm_ros.http.conversation import after
from lfm_ros.http.conversation import Conversation
from lfm_ros.http.conversation import read_conversation
from lfm_ros.http.errors import ApiError
from lfm_ros.http.errors import REFUSALS
from lfm_ros.http.guard import add_guards
from lfm_ros.http.guard import Limits
from lfm_ros.http.queries import chat_query
from lfm_ros.http.queries import text_query
from lfm_ros.http.requests import ChatRequest
from lfm_ros.http.requests import CompletionRequest
from lfm_ros.http.responses import ChatAnswer
from lfm_ros.http.responses import logprobs_of
from lfm_ros.http.responses import TextAnswer
from lfm_ros.http.streams import events_of
from lfm_ros.http.streams import EventStream
from lfm_ros.http.streams import Pieces
from lfm_ros.http.streams import pieces_of
from lfm_ros.http.streams import unless_gone
from lfm_ros.http.streams import whole
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.past_turn import PastTurn
from starlette.exceptions import HTTPException

Prompt = Union[str, list[int]]


@dataclass(frozen=True)
class Settings:
    """
    How the endpoint serves.

    :param max_tokens: of an answer whose request names none; 0: what the node has.
    :param conversations: missions that are kept to go on with.
    """

    max_tokens: int = 0
    conversations: int = 16
    limits: Limits = Limits()


def make_app(backend: Backend, settings: Settings = Settings()) -> FastAPI:
    """Return the application, in front of what runs the model."""
    chats, texts = _Chats(backend, settings), _Texts(backend)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with suppress(LfmError):  # a node that is not active yet, say
            await chats.continuations.forget_old()
        yield
        with suppress(LfmError, asyncio.CancelledError):
            await chats.continuations.forget_all()

    app = FastAPI(title='lfm_ros', lifespan=lifespan, docs_url=None, redoc_url=None,
                  description="LFM2 models behind OpenAI's interface")
    add_guards(app, settings.limits)
    _add_error_handlers(app)
    _add_descriptions(app, backend)
    for path, answer in (('/v1/chat/completions', chats.answer),
                         ('/v1/completions', texts.answer)):
        app.post(path, response_model=None, responses=REFUSALS)(answer)
    return app


def _add_descriptions(app: FastAPI, backend: Backend) -> None:
    def described() -> dict[str, Any]:
        model = backend.model
        return {'id': model.name, 'object': 'model', 'created': int(time.time()),
                'owned_by': 'lfm_ros', 'max_model_len': model.context_length,
                'vision': model.vision}

    @app.get('/health', responses=REFUSALS)
    async def health() -> dict[str, str]:
        """Say whether requests are answered."""
        await backend.missions()
        return {'status': 'ok'}

    @app.get('/v1/models', responses=REFUSALS)
    async def models() -> dict[str, Any]:
        """List the model."""
        return {'object': 'list', 'data': [described()]}

    @app.get('/v1/models/{model:path}', responses=REFUSALS)
    async def one_model(model: str) -> dict[str, Any]:
        """Describe the model."""
        _check_model(backend, model)
        return described()


class _Chats:
    """Answers conversations."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend, self._settings = backend, settings
        self.continuations = Continuations(backend, settings.conversations)

    async def answer(self, body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        _check_model(self._backend, body.model)
        conversation = read_conversation(body.messages, body.tools or ())
        if body.stream:
            return await EventStream.begin(self._events(body, conversation))
        return JSONResponse(await unless_gone(request, self._whole(body, conversation)))

    async def _whole(self, body: ChatRequest, conversation: Conversation) -> dict[str, Any]:
        async with self._turn(body, conversation) as pieces:
            text, answer = await whole(pieces)
            return ChatAnswer(body.model).whole(answer, text)

    async def _events(self, body: ChatRequest, conversation: Conversation
                      ) -> AsyncGenerator[bytes, None]:
        async with self._turn(body, conversation) as pieces:
            async for found in events_of(pieces, ChatAnswer(body.model), body):
                yield found

    @asynccontextmanager
    async def _turn(self, body: ChatRequest, conversation: Conversation
                    ) -> AsyncIterator[Pieces]:
        """Ask the mission that goes on with a conversation."""
        asked, most = conversation.question, self._settings.max_tokens
        if body.lfm_mission is not None:
            query = replace(chat_query(body, body.lfm_mission, asked, most),
                            tools=conversation.tools)
            async with aclosing(pieces_of(self._backend.ask(query))) as pieces:
                yield pieces
            return
        async with self.continuations.mission_for(conversation) as mission:
            query = chat_query(body, mission.name, asked, most)
            async with aclosing(pieces_of(self._backend.ask(query))) as pieces:
                said: list[str] = []

                async def noted() -> Pieces:
                    async for piece in pieces:
                        if isinstance(piece, Answer):
                            mission.digests = [*mission.digests, after(
                                mission.digests[-1], PastTurn(
                                    asked.text, ''.join(said), asked.images, asked.results,
                                    piece.tool_calls))]
                        else:
                            said.append(piece)
                        yield piece
                yield noted()


class _Texts:
    """Continues texts."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def answer(self, body: CompletionRequest, request: Request) -> Response:
        """Continue texts."""
        _check_model(self._backend, body.model)
        prompts = body.prompts
        if body.logprobs is not None and not body.echo:
            raise ApiError(400, 'logprobs is set without echo: log-probabilities are computed of '
                           'given texts only, so set echo', 'logprobs')
        if not body.stream:
            return JSONResponse(await unless_gone(request, self._whole(body, prompts)))
        if len(prompts) > 1 or body.echo:
            raise ApiError(400, 'stream is set together with several prompts or echo: leave out '
                           'one of them', 'stream')
        return await EventStream.begin(self._events(body, prompts[0]))

    async def _events(self, body: CompletionRequest, prompt: Prompt
                      ) -> AsyncGenerator[bytes, None]:
        async with aclosing(await self._continued(body, prompt)) as pieces:
            async for found in events_of(pieces, TextAnswer(body.model), body):
                yield found

    async def _whole(self, body: CompletionRequest, prompts: list[Prompt]) -> dict[str, Any]:
        return TextAnswer(body.model).whole([await self._one(body, each) for each in prompts])

    async def _one(self, body: CompletionRequest, prompt: Prompt
                   ) -> tuple[str, Answer, dict[str, Any] | None]:
        """Return a text, its answer, and log-probabilities where they are wanted."""
        text, answer = '', Answer('', '', finish_reason='length')
        if body.max_tokens:
            async with aclosing(await self._continued(body, prompt)) as pieces:
                text, answer = await whole(pieces)
        if not body.echo:
            return text, answer, None
        if body.logprobs is None and isinstance(prompt, str):
            return prompt + text, answer, None
        tokens = await self._backend.score(prompt)
        shown = ''.join(token['text'] for token in tokens)
        logprobs = None if body.logprobs is None else logprobs_of(tokens, body.logprobs)
        return shown + text, answer, logprobs

    async def _continued(self, body: CompletionRequest, prompt: Prompt
                         ) -> AsyncGenerator[str | Answer, None]:
        if not isinstance(prompt, str):
            prompt = ''.join(token['text'] for token in await self._backend.score(prompt))
        return pieces_of(self._backend.ask(text_query(body, prompt)))


def _check_model(backend: Backend, name: str) -> None:
    known = backend.model.name
    if name != known:
        raise ApiError(404, f'there is no model {name!r}: the model here is {known!r}', 'model',
                       'model_not_found')


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        headers = {'Retry-After': '1'} if error.status == 429 else None
        return JSONResponse(error.body(), error.status, headers)

    @app.exception_handler(LfmError)
    async def failed(request: Request, error: LfmError) -> JSONResponse:
        return await refused(request, ApiError.of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return await refused(request, validation.explain(error))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        answer = await refused(request, validation.explain_status(request, error))
        answer.headers.update(error.headers or {})  # which methods there are, say
        return answer
