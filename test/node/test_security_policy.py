# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy gives the rights to what is really opened, and no others."""
from collections.abc import Iterator
from pathlib import Path
import re
from xml.etree import ElementTree

from lfm_ros.client import LfmClient
from node_client import Client
from node_support import running_node
import pytest
import rclpy
from rclpy.node import Node

POLICY = Path(__file__).resolve().parents[2] / 'config' / 'sros2' / 'lfm.policy.xml'
Right = tuple[str, str]

# What is opened later, or by those alone who ask for it.
AT_TIMES = {('subscribe', '/lfm/image'), ('subscribe', '/lfm/image/compressed'),
            ('subscribe', '/clock'), ('subscribe', '/bond'), ('publish', '/bond')}


def granted(enclave: str) -> set[Right]:
    """Return the rights of an enclave as verbs and full names."""
    rights = set()
    for profile in ElementTree.parse(POLICY).iterfind(
            f"enclaves/enclave[@path='{enclave}']/profiles/profile"):
        namespace = profile.attrib['ns'].rstrip('/')
        for things in profile:
            for thing in things:
                name = (thing.text or '').replace('~', f'{namespace}/{profile.attrib["node"]}')
                name = name if name.startswith('/') else f'{namespace}/{name}'
                rights |= {(verb, name) for verb, value in things.attrib.items()
                           if value == 'ALLOW'}
    return rights


def opened(seen_by: Node, name: str) -> set[Right]:
    """Return what a node has opened, in the words of a policy."""
    rights = set()
    for verb, action_verb, found in (
            ('reply', 'execute', seen_by.get_service_names_and_types_by_node),
            ('request', 'call', seen_by.get_client_names_and_types_by_node),
            ('publish', 'execute', seen_by.get_publisher_names_and_types_by_node),
            ('subscribe', 'call', seen_by.get_subscriber_names_and_types_by_node)):
        for topic, _ in found(name, '/'):
            action, is_action, _ = topic.partition('/_action/')
            rights.add((action_verb, action) if is_action else (verb, topic))
    return rights


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    """Give a client of a running node."""
    with running_node() as client:
        client.wait_until(lambda: 'lfm' in client.node.get_node_names(), 'node lfm')
        yield client


def test_the_node_may_do_what_it_does_and_nothing_else(client: Client) -> None:
    rights = granted('/lfm')
    assert AT_TIMES <= rights
    client.wait_until(lambda: opened(client.node, 'lfm') - AT_TIMES == rights - AT_TIMES,
                      f'rights, {POLICY.name} differs in '
                      f'{(opened(client.node, "lfm") ^ rights) - AT_TIMES}')


def test_a_client_may_ask_and_nothing_else(
        client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    visitors: set[Right] = set()

    class Visitor(Node):
        def destroy_node(self) -> None:
            visitors.update(opened(self, self.get_name()))
            super().destroy_node()

    monkeypatch.setattr('lfm_ros.client.reliable_client.Node', Visitor)
    context = rclpy.Context()
    context.init(domain_id=client.node_process.domain)
    node = rclpy.create_node('lfm_client', context=context)
    try:
        LfmClient(node).wait()
        rights = granted('/lfm_client')
        client.wait_until(lambda: 'lfm_client' in client.node.get_node_names(), 'the client')
        client.wait_until(
            lambda: opened(client.node, 'lfm_client') | visitors == rights - AT_TIMES,
            f'rights, {POLICY.name} differs in '
            f'{((opened(client.node, "lfm_client") | visitors) ^ rights) - AT_TIMES}')
    finally:
        node.destroy_node()
        context.shutdown()
    assert {name for verb, name in rights if name.startswith('/lfm/')} == {
        '/lfm/ask', '/lfm/generate', '/lfm/observe'}


def test_sros2_makes_permissions_from_the_policy(tmp_path: Path) -> None:
    keystore = pytest.importorskip('sros2.keystore', reason='sros2 is not installed (it comes '
                                   'with an installed ROS 2)')
    keys = tmp_path / 'keys'
    keystore.create_keystore(keys)
    for enclave, verbs in (('/lfm', ('reply', 'execute')), ('/lfm_client', ('request', 'call'))):
        keystore.create_enclave(keys, enclave)
        keystore.create_permission(keys, enclave, POLICY)
        text = (keys / f'enclaves{enclave}' / 'permissions.xml').read_text()
        topics = {topic.text for topic in ElementTree.fromstring(text).iter('topic')}
        for verb, name in granted(enclave):
            if verb in ('publish', 'subscribe'):
                assert f'rt{name}' in topics
            elif verb in ('reply', 'request'):
                assert {f'rq{name}Request', f'rr{name}Reply'} <= topics
            else:
                assert verb in verbs and f'rq{name}/_action/send_goalRequest' in topics
        assert '<default>DENY</default>' in text
        assert ('rq/lfm/missions/deleteRequest' in topics) == (enclave == '/lfm')


def test_tests_that_security_md_names_exist() -> None:
    root = POLICY.parents[2]
    names = re.findall(r'`((?:test|config)/[\w./]+)`', (root / 'SECURITY.md').read_text())
    assert len(names) > 10
    assert [name for name in names if not (root / name).exists()] == []
