# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The near ends of the processes that compile grammars, see the worker."""
from __future__ import annotations

from contextlib import suppress
from io import FileIO
import os
from pathlib import Path
import select
import signal
import socket
import subprocess
import sys
import weakref

from lfm_ros.engine.grammar.worker import HELLO
from lfm_ros.engine.grammar.worker import NICENESS
from lfm_ros.engine.grammar.worker import ORDER

# The server needs its own file, the library and Python's own: the site's start files would make
# it larger and slower.
_START = 'import sys; sys.path[:] = {path!r}; ' \
    'from lfm_ros.engine.grammar.worker import main; main({control})'
_END_SECONDS = 2.0


class GrammarServer:
    """
    The process from which workers are forked.

    Starting it and sending to it does not wait for it.

    :param settings: JSON with the size of the vocabulary and the end tokens.
    :param tokenizer: as JSON, in the format of the library ``tokenizers``.
    :ivar pid: of the process.
    """

    def __init__(self, settings: str, tokenizer: bytes) -> None:
        self._control, theirs = _socket_pair()
        package = str(Path(__file__).resolve().parents[3])
        path = [package, *(entry for entry in sys.path if entry)]
        with theirs, _memory_file(tokenizer) as file:
            process = subprocess.Popen(
                [sys.executable, '-I', '-S', '-c',
                 _START.format(path=path, control=theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a panic of the library would print the grammar there
                env={**os.environ, 'MALLOC_ARENA_MAX': '1'})
            socket.send_fds(self._control, [settings.encode()], [file.fileno()])
        self.pid = process.pid
        self.close = weakref.finalize(self, _end, self._control, process)

    def start_worker(self, kind: str, text: str, memory: int) -> Worker:
        """
        Have a grammar compiled.

        :param kind: json_schema, regex or grammar.
        :param memory: bytes that compiling may take.
        :raises OSError: when the server has ended.
        """
        ours, theirs = _socket_pair()
        with theirs, _memory_file(text.encode(errors='replace')) as file:
            socket.send_fds(self._control, [ORDER.pack(kind.encode(), memory)],
                            [theirs.fileno(), file.fileno()])
        return Worker(ours)


class Worker:
    """
    The process of one grammar.

    :param requests: socket of packets to it.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        self._pid = 0
        self._process = -1  # file descriptor: unlike a number it never means another process
        self._buffer = bytearray(1 << 18)

    @property
    def started(self) -> bool:
        """Whether the process has started."""
        return bool(self._pid)

    def send(self, request: bytes) -> None:
        """Send a request; :meth:`receive` returns None when the process has ended."""
        with suppress(OSError):
            self._requests.send(request)

    def readable(self, seconds: float) -> bool:
        """Wait for a reply, or the end of the process."""
        return bool(self._poll.poll(1000 * seconds))

    def receive(self) -> bytes | None:
        """Return the next reply; None: the process has ended."""
        try:
            if not self._pid:
                hello, files, _, _ = socket.recv_fds(self._requests, HELLO.size, 1)
                if not hello:
                    return None
                self._pid, self._process = HELLO.unpack(hello)[0], files[0]
                return hello
            size = self._requests.recv_into(self._buffer)
            return bytes(self._buffer[:size]) if size else None
        except OSError:
            return None

    def yield_cpu(self) -> None:
        """Let everything else go first from now on."""
        if self._pid:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._pid, NICENESS)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._requests.close()  # where it has not started, it ends when it sends its hello
        if self._process >= 0:
            with suppress(OSError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
            self._process = -1


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _memory_file(content: bytes) -> FileIO:
    """Return an open file in memory; a socket would wait for the other end with much less."""
    file = FileIO(os.memfd_create('lfm_ros'), 'w')
    file.write(content)
    return file


def _end(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End the server, and with it all workers."""
    control.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:  # it reads a tokenizer, say
        process.kill()
        process.wait()
