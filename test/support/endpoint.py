# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An endpoint in a process of its own, and requests to it."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import http.client
import json
import signal
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

from support import environment
from waiting import WAIT

SYSTEM = {'role': 'system', 'content': 'You are a robot.'}


def user(text: Any) -> dict[str, Any]:
    """Return a message of the user."""
    return {'role': 'user', 'content': text}


class Endpoint:
    """A running endpoint; ``model`` is what it serves at ``url``."""

    def __init__(self, process: subprocess.Popen[str], url: str, model: str) -> None:
        self.process, self.url, self.model = process, url, model
        self.address = urlsplit(url).netloc

    def request(self, method: str, path: str, body: Any = None, **headers: str
                ) -> tuple[int, Any]:
        """Make a request; return status and JSON, or the events of a stream."""
        with self.open(method, path, body, **headers) as response:
            text = response.read().decode()
            if response.headers['Content-Type'].startswith('text/event-stream'):
                return response.status, [line.removeprefix('data: ')
                                         for line in text.split('\n\n') if line]
            return response.status, json.loads(text)

    @contextmanager
    def open(self, method: str, path: str, body: Any = None, **headers: str
             ) -> Iterator[http.client.HTTPResponse]:
        """Begin a request; give the response while it comes. Leaving hangs up."""
        connection = http.client.HTTPConnection(self.address, timeout=WAIT)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        names = {'Content-Type': 'application/json',
                 **{name.replace('_', '-'): value for name, value in headers.items()}}
        try:
            connection.request(method, path, data, names)
            yield connection.getresponse()
        finally:
            connection.close()

    def chat(self, messages: Any, **fields: Any) -> Any:
        """Return the answer to a conversation, greedy unless it is told otherwise."""
        status, found = self.request('POST', '/v1/chat/completions', {
            'model': self.model, 'messages': messages, 'temperature': 0, 'max_tokens': 24,
            **fields})
        assert status == 200, found
        return found


@contextmanager
def running_endpoint(*options: str, model: str = 'demo') -> Iterator[Endpoint]:
    """Run `lfm serve` on a free port; it must end by itself when it is told to."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'lfm_ros.cli.main', 'serve', model, '--port', '0', '--json',
         '--threads', '1', *options], stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout
        yield Endpoint(process, **json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        process.wait()
