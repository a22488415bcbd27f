# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A process that has imported what a node imports, and is forked for each node: that saves a second.

What follows the imports is the same program as ever: :mod:`lfm_ros.node.start`, or a script. It is
run as a program with the number of a socket, see :class:`Starter`.
"""
from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

_MAX_LENGTH = 1 << 20
_PR_SET_PDEATHSIG = 1


class StartedNode:
    """What of ``subprocess.Popen`` the tests use, for a process that the starter has forked."""

    def __init__(self, starter: Starter, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._starter = starter
        self._handle = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code."""
        code = self._wait(None if timeout is None else timeout * 1000)
        if code is None:
            raise subprocess.TimeoutExpired('the node', timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _wait(self, milliseconds: float | None) -> int | None:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._handle, select.POLLIN)
            if not waiting.poll(milliseconds):
                return None
            with self._lock:  # until now nobody else can have got its number
                if self.returncode is None:
                    self.returncode = self._starter.ask({'end': self.pid})
                    os.close(self._handle)
        return self.returncode


class Starter:
    """
    The process that is forked.

    :ivar environment: that it was started with; a node that wants another one is better started
        anew, since there is what an import may read.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(other.fileno())], env=environment,
                pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def start(self, program: tuple[str, ...], arguments: list[str], environment: dict[str, str],
              cwd: Path, log: int) -> StartedNode:
        """Start a node as ``subprocess.Popen`` would, with its output in a file."""
        return StartedNode(self, self.ask({
            'program': program, 'arguments': arguments, 'environment': environment,
            'cwd': str(cwd)}, log))

    def ask(self, what: dict[str, Any], *handles: int) -> int:
        """Return the answer of the process."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(what).encode()], list(handles))
            return int(self._socket.recv(_MAX_LENGTH))


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _become(wanted: dict[str, Any], log: int) -> None:
    """Go on as a process would that was started with this program."""
    _die_with_parent()
    for handle in (1, 2):
        os.dup2(log, handle)
    os.close(log)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(wanted['environment'])
    os.chdir(wanted['cwd'])
    first, *rest = wanted['program']
    sys.argv[1:] = wanted['arguments']
    if first == '-m':
        sys.path[0] = wanted['cwd']
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    else:
        sys.argv[0], sys.path[0] = first, str(Path(first).parent)
        runpy.run_path(first, run_name='__main__')


def main() -> None:
    """Serve until the socket is closed."""
    import lfm_ros.node.main  # noqa: F401
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses Ctrl-C wants the tests to end
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        while True:
            data, handles, _, _ = socket.recv_fds(asked, _MAX_LENGTH, 1)
            if not data:
                return
            wanted = json.loads(data)
            if 'end' in wanted:
                answer = os.waitstatus_to_exitcode(os.waitpid(wanted['end'], 0)[1])
            else:
                answer = os.fork()
                if not answer:
                    break
                os.close(handles[0])
            asked.send(str(answer).encode())
    _become(wanted, handles[0])


if __name__ == '__main__':
    main()
