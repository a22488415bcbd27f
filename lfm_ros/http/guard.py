# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who may ask, and how much."""
from __future__ import annotations

from dataclasses import dataclass
import hmac
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from lfm_ros.http.errors import ApiError
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

MB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """
    What is let in.

    :param key: that requests must bear; empty: none.
    :param body_bytes: longest body.
    :param connections: most requests at once.
    :param hosts: names under which the endpoint may be called; empty: any. A page in a browser
        could else reach it under a name of its own that leads here.
    """

    key: str = ''
    body_bytes: int = 64 * MB
    connections: int = 64
    hosts: tuple[str, ...] = ()


def add_guards(app: FastAPI, limits: Limits) -> None:
    """Let in only what the limits allow."""
    app.add_middleware(_Guard, limits=limits)


class _Guard:
    """Refuses requests before they are read."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits, self._running = app, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        headers = {name.decode('latin-1'): value.decode('latin-1')
                   for name, value in scope['headers']}
        if error := self._refusal(scope, headers):
            await JSONResponse(error.body(), error.status)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, _Bounded(receive, self._limits.body_bytes), send)
        except _TooLong:
            error = self._too_long()
            await JSONResponse(error.body(), error.status)(scope, receive, send)
        finally:
            self._running -= 1

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> ApiError | None:
        limits = self._limits
        host = headers.get('host', '').rpartition(':')[0] or headers.get('host', '')
        if limits.hosts and host.strip('[]') not in limits.hosts:
            return ApiError(421, f'this endpoint is not {host[:80]!r}: call it as '
                            f'{limits.hosts[0]}', None, 'wrong_host')
        if limits.key and scope['path'] != '/health' and not hmac.compare_digest(
                headers.get('authorization', '').encode(), f'Bearer {limits.key}'.encode()):
            return ApiError(401, 'the key is missing or wrong: send Authorization: Bearer KEY',
                            None, 'invalid_api_key')
        if self._running >= limits.connections:
            return ApiError(429, f'{self._running} requests are on their way: try again later',
                            None, 'rate_limit_exceeded')
        length = headers.get('content-length', '0')
        if length.isdecimal() and int(length) > limits.body_bytes:
            return self._too_long()
        return None

    def _too_long(self) -> ApiError:
        return ApiError(413, f'the body is longer than {self._limits.body_bytes // MB} MiB: send '
                        'smaller images', None, 'too_long')


class _TooLong(Exception):
    """A body without a length, or with a wrong one, that does not end."""


class _Bounded:
    """Receives a body up to a length."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most

    async def __call__(self) -> Message:
        message: Any = await self._receive()
        self._left -= len(message.get('body', b''))
        if self._left < 0:
            raise _TooLong
        return message
