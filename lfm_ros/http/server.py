# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Serve an application on a port."""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
import ipaddress
from pathlib import Path
import signal
import socket
from typing import Any

from fastapi import FastAPI
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import uvicorn

DEFAULT_HOST = '127.0.0.1'
DEFAULT_PORT = 8000
_MAX_KEY_BYTES = 4096
_MIN_KEY_LENGTH = 16
_CONNECTIONS = 256  # idle ones too
_GRACE = 5  # seconds in which answers may end that are on their way
_LOCAL_NAMES = ('localhost', '127.0.0.1', '::1')


def is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(path: str) -> str:
    """
    Return the key in a file.

    :raises LfmError: KEY_INVALID.
    """
    try:
        with Path(path).expanduser().open('rb') as file:
            key = file.read(_MAX_KEY_BYTES + 1).decode('ascii').strip()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, 'strerror', '') or 'it is not ASCII text'
        raise LfmError(ErrorCode.KEY_INVALID, f'the key file {path} cannot be read ({reason}): '
                       'give one with a line of letters and digits') from error
    if not _MIN_KEY_LENGTH <= len(key) <= _MAX_KEY_BYTES or not key.isprintable() or ' ' in key:
        raise LfmError(ErrorCode.KEY_INVALID, f'the key in {path} has {len(key)} characters: '
                       f'write one line of {_MIN_KEY_LENGTH} or more, as from '
                       "'openssl rand -hex 32'")
    return key


def hosts_of(host: str) -> tuple[str, ...]:
    """Return the names under which an address may be called; empty: any."""
    return tuple(dict.fromkeys((host, *_LOCAL_NAMES))) if is_local(host) else ()


def listen(host: str, port: int, key: str) -> socket.socket:
    """
    Return a socket that listens.

    :param port: 0: a free one.
    :raises LfmError: KEY_INVALID when others could call it without a key; INVALID_VALUE.
    """
    if not key and not is_local(host):
        raise LfmError(ErrorCode.KEY_INVALID, f'{host} can be reached from other machines: give a '
                       'file with a key, or listen on 127.0.0.1')
    if not 0 <= port < 1 << 16:
        raise LfmError(ErrorCode.INVALID_VALUE, f'the port is {port}: set it between 0 (a free '
                       'one) and 65535')
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except (OSError, UnicodeError) as error:
        raise LfmError(ErrorCode.INVALID_VALUE, f'{host}:{port} cannot be listened on '
                       f'({getattr(error, "strerror", "") or error}): choose another host or '
                       'port') from error


def url_of(sock: socket.socket) -> str:
    """Return where clients find the endpoint."""
    host, port = sock.getsockname()[:2]
    return f'http://[{host}]:{port}/v1' if ':' in host else f'http://{host}:{port}/v1'


def serve(app: FastAPI, sock: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """
    Serve until the process is told to end (SIGINT, SIGTERM).

    :param ready: called once requests are taken.
    """
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False,
                            limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=_GRACE,
                            lifespan='on')
    asyncio.run(_serve(_Server(config), sock, ready))


class _Server(uvicorn.Server):
    """A server that ends at a signal, and lets its caller go on then."""

    def capture_signals(self) -> Any:
        """Leave signals to the caller."""
        return nullcontext()


async def _serve(server: _Server, sock: socket.socket, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.force_exit = server.should_exit  # the second time it does not wait
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    while not (server.started or serving.done()):
        await asyncio.sleep(0.01)
    if server.started:
        ready()
    await serving
