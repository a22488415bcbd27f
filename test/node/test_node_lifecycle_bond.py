# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bond of an active node with a lifecycle manager, such as that of Nav2."""
from __future__ import annotations

from collections.abc import Iterator
import json
from typing import Any

from node_client import Client
from node_client import Inbox
from node_support import ODD_NODE
from node_support import ROOT
from node_support import running_node
import pytest
from std_msgs.msg import String

PERIOD = 0.05  # seconds
TIMEOUT = 4.0  # seconds after which Nav2 takes a silent node for dead
PROGRAM = 'import runpy, sys; {}; runpy.run_path({!r}, run_name="__main__")'
WITH_BONDPY = ('-c', PROGRAM.format(
    f'sys.path.insert(0, {str(ROOT / "test" / "support" / "fakes")!r})', ODD_NODE[0]))
WITHOUT_BONDPY = ('-c', PROGRAM.format('sys.modules["bondpy"] = None', ODD_NODE[0]))


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a node that has bondpy, and a slow model."""
    with running_node(program=WITH_BONDPY, bond_heartbeat_period=PERIOD) as client:
        yield client


@pytest.fixture(scope='module')
def bonds(client: Client) -> Inbox:
    """Give what comes on /bond."""
    return client.subscribe(String, '/bond')


def heard(bonds: Inbox, active: bool, start: int = 0, count: int = 1) -> list[dict[str, Any]]:
    """Wait for messages of a bond that is alive, or broken."""
    found = bonds.wait(lambda m: json.loads(m.data)['active'] == active, count, start=start)
    return [json.loads(m.data) for m in found]


def test_an_active_node_keeps_a_bond_under_its_name(bonds: Inbox) -> None:
    first, *rest = heard(bonds, True, count=5)
    assert first.pop('instance_id') and first == {
        'id': 'lfm', 'active': True, 'heartbeat_timeout': TIMEOUT, 'heartbeat_period': PERIOD}
    assert {m['instance_id'] for m in rest} == {json.loads(bonds.messages[0].data)['instance_id']}


def test_the_bond_is_broken_while_the_node_is_not_active_and_another_one_made_then(
        client: Client, bonds: Inbox) -> None:
    names = set()
    for _ in range(3):
        start = len(bonds.messages)
        names.add(heard(bonds, True, start)[0]['instance_id'])
        assert client.change_state('deactivate')
        heard(bonds, False, start)
        start = len(bonds.messages)
        assert client.change_state('activate')
        after = heard(bonds, True, start)[0]['instance_id']
        assert after not in names
    assert client.node.count_publishers('/bond') <= 2, 'bonds that are over are given back'


def test_the_bond_lives_while_the_model_works(client: Client, bonds: Inbox) -> None:
    start = len(bonds.messages)
    goals = [client.generate('(slow 20) go', mission_id=m, max_tokens=50) for m in 'ab']
    for goal in goals:
        assert goal.end()[1].error_code == 0
    # 50 calls of 20 ms and more: a second, in which half of the heartbeats would be plenty.
    assert len(heard(bonds, True, start, count=10)) == 10
    assert all(json.loads(m.data)['active'] for m in bonds.messages[start:])


def test_a_node_that_ends_breaks_its_bond_and_a_namespace_has_bonds_of_its_own() -> None:
    with running_node('-r', '__ns:=/robot', program=WITH_BONDPY, target='/robot/lfm') as client:
        bonds = client.subscribe(String, '/robot/bond')
        assert heard(bonds, True)[0]['heartbeat_period'] == 0.1
        client.node_process.stop()
        assert heard(bonds, False)[0]['id'] == 'lfm'


def test_with_a_period_of_0_there_is_no_bond() -> None:
    with running_node(program=WITH_BONDPY, bond_heartbeat_period=0.0) as client:
        assert client.node.count_publishers('/bond') == 0


@pytest.mark.parametrize('values, lines', [
    ({}, 0), ({'bond_heartbeat_period': 0.1}, 1), ({'bond_heartbeat_period': 0.0}, 0)])
def test_without_bondpy_only_who_has_asked_for_a_heartbeat_is_told(
        values: dict[str, float], lines: int) -> None:
    with running_node(program=WITHOUT_BONDPY, **values) as client:
        assert client.ask('What?', max_tokens=2).error_code == 0
        told = [line for line in client.node_process.log.splitlines() if 'bondpy' in line]
        assert len(told) == lines and all('INFO' in line for line in told)
