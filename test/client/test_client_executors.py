# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A client works however its node is spun; each way is tried in a process of its own."""
from collections.abc import Iterator
import json
import subprocess
import sys
from typing import Any

from node_client import Client
from node_client import DEADLINE
from node_support import environment
from node_support import ROOT
from node_support import running_node
import pytest

WHOLE = {'ask': True, 'missions': True, 'choose': 'yes', 'walk': True, 'leave': True,
         'walk in asyncio': True}


@pytest.fixture(scope='module')
def server() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        yield client


def trial(server: Client, way: str) -> dict[str, Any]:
    """Return what came of all calls in one way."""
    done = subprocess.run(
        [sys.executable, ROOT / 'test/support/client_trial.py', way], capture_output=True,
        text=True, timeout=3 * DEADLINE,
        env=environment(ROS_DOMAIN_ID=str(server.node_process.domain)))
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize('way', [
    'none', 'single elsewhere', 'multi elsewhere', 'multi callback'])
def test_every_call_works_where_another_thread_can_receive_or_none_spins(
        server: Client, way: str) -> None:
    assert trial(server, way) == WHOLE


def test_every_call_is_refused_in_a_callback_of_the_only_thread(server: Client) -> None:
    found = trial(server, 'single callback')
    assert found.keys() == WHOLE.keys()
    for said in found.values():
        assert said.startswith('RuntimeError: this would wait for ever in a callback'), found


@pytest.mark.parametrize('way', ['single coroutine', 'multi coroutine'])
def test_a_coroutine_of_the_executor_walks_an_answer(server: Client, way: str) -> None:
    assert trial(server, way) == {'walk': True}
