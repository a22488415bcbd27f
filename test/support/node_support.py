# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start the real node in a process of its own, and end it."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
import os
from pathlib import Path
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any

from node_client import Client
from node_starter import StartedNode
from node_starter import Starter
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / 'test' / 'models'
DEMO_GRAPH = ROOT / 'lfm_ros' / 'models' / 'demo' / 'model.onnx'
NODE = ('-m', 'lfm_ros.node.start')
ODD_NODE = (str(ROOT / 'test' / 'support' / 'odd_node.py'),)
# Programs for which it makes no difference what was imported before.
FORKED = (NODE, ODD_NODE, (str(ROOT / 'test' / 'support' / 'hung_node.py'),))
DEADLINE = 60.0  # seconds; for what takes a fraction of one on a quiet machine

needs_demo_model = pytest.mark.skipif(
    not DEMO_GRAPH.exists(),
    reason=f'the embedded model is not there: {DEMO_GRAPH.relative_to(ROOT)}')

# Fast DDS on this machine only; both are read when a context is made.
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.pop('ROS_STATIC_PEERS', None)


def claim_domain() -> tuple[int, socket.socket]:
    """Return a ROS domain that no other test run of this machine uses, and the claim on it."""
    while True:
        domain = random.randint(1, 100)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f'\0lfm_ros_test_domain_{domain}')
        except OSError:
            claim.close()
        else:
            return domain, claim


@lru_cache(maxsize=None)
def starter() -> Starter:
    """Return the process from which nodes are forked."""
    return Starter(environment())


# By default missions outlive a node, in a folder of the user.
NOT_KEPT = ('-p', "missions.dir:=''")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a node."""
    found = dict(os.environ, PYTHONPATH=str(ROOT), RCUTILS_COLORIZED_OUTPUT='0',
                 PYTHONFAULTHANDLER='1', **more)
    found.pop('PYTEST_CURRENT_TEST', None)  # it changes, and is no business of a node
    return found


class NodeProcess:
    """
    A node in a process of its own, alone in its ROS domain.

    :param arguments: what follows ``--ros-args``.
    :param program: what Python runs.
    :param cwd: folder in which it starts.
    :param beside: a node into whose domain this one comes.
    :param keeping: whether its missions are kept where they are when nobody says where.
    :param forked: whether its imports may be done already, see :mod:`node_starter`; what it shares
        with other nodes counts as their memory, too.
    """

    def __init__(self, *arguments: str, program: tuple[str, ...] = NODE, cwd: Path = ROOT,
                 beside: NodeProcess | None = None, keeping: bool = False,
                 forked: bool = True) -> None:
        self.domain, self._claim = claim_domain()
        if beside:
            self.domain = beside.domain
        self._log = tempfile.TemporaryFile('w+', errors='replace')
        arguments = arguments if keeping else (*NOT_KEPT, *arguments)
        env = environment(ROS_DOMAIN_ID=str(self.domain))
        self.process: subprocess.Popen[bytes] | StartedNode
        if forked and program in FORKED and hasattr(os, 'pidfd_open') and \
                starter().environment == environment():
            self.process = starter().start(
                program, ['--ros-args', *arguments], env, cwd, self._log.fileno())
            return
        # A node that outlived a test run that was killed would answer in the domain of another.
        mortal = ['setpriv', '--pdeathsig', 'KILL'] if shutil.which('setpriv') else []
        command = [*mortal, sys.executable, *program, '--ros-args', *arguments]
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        """All that the node has written."""
        self._log.seek(0)
        return self._log.read()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the node as a user would, and check that it went well."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # the fault handler writes where it hangs
            self.process.wait()
            raise AssertionError(
                f'the node did not end after {number.name}:\n{self.log}') from None
        log = self.log
        assert code == 0, f'the node ended with exit code {code}:\n{log}'
        assert 'Traceback' not in log, f'the node wrote a traceback:\n{log}'

    def close(self) -> None:
        """Let go of everything, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()
        self._claim.close()


def parameters(**values: Any) -> list[str]:
    """Return arguments that set parameters; two underscores stand for a dot."""
    found = []
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found += ['-p', f'{name.replace("__", ".")}:={text}']
    return found


@contextmanager
def running_node(*arguments: str, model: str = 'lfm2', program: tuple[str, ...] = NODE,
                 state: str = 'active', target: str = '/lfm', check_end: bool = True,
                 cwd: Path = ROOT, keeping: bool = False, forked: bool = True,
                 **values: Any) -> Iterator[Client]:
    """
    Give a client of a fresh node, and end the node with SIGINT.

    :param model: folder in test/models; empty: none.
    :param state: lifecycle state to wait for.
    :param values: parameters, see :func:`parameters`.
    """
    if model:
        values.setdefault('model__path', MODELS / model)
    node = NodeProcess(*parameters(**values), *arguments, program=program, cwd=cwd,
                       keeping=keeping, forked=forked)
    try:
        with Client(node.domain, target, shared_memory=check_end) as client:
            client.node_process = node
            try:
                client.wait_until(lambda: node.process.poll() is not None or any(
                    s.state == state for s in client.status.messages), f'state {state}')
                assert node.process.poll() is None, f'the node ended at once:\n{node.log}'
                yield client
            except TimeoutError as error:
                raise AssertionError(f'{error}; the node wrote:\n{node.log}') from error
            if check_end:
                node.stop()
    finally:
        print('The node wrote:', *node.log.splitlines()[-40:], sep='\n')
        node.close()
