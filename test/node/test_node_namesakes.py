# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two nodes of one name say so, since requests to them are answered by either."""
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from node_client import Client
from node_client import Inbox
from node_support import MODELS
from node_support import NodeProcess
from node_support import parameters
from node_support import running_node

WARNING = 'another node is named {} in this ROS domain'


def started(client: Client, *arguments: str, **values: object) -> NodeProcess:
    """Start another node in the domain of a client's node, and wait until it tells of itself."""
    node = NodeProcess(*parameters(model__path=MODELS / 'qwen3', **values), *arguments,
                       beside=client.node_process)
    client.wait_until(lambda: 'ready for questions' in node.log, 'the other node')
    return node


def told(inbox: Inbox, level: bytes, number: int, start: int = 0) -> DiagnosticStatus:
    """Return the diagnosis with this level and number of nodes."""
    def is_it(message: DiagnosticArray) -> bool:
        values = {v.key: v.value for v in message.status[0].values}
        return message.status[0].level == level and values['nodes of this name'] == str(number)

    return inbox.wait(is_it, start=start)[0].status[0]


def test_two_nodes_of_one_name_warn_until_one_is_gone() -> None:
    with running_node('-r', '__ns:=/robot', target='/robot/lfm') as client:
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        told(diagnostics, DiagnosticStatus.OK, 1)
        other = started(client, '-r', '__ns:=/robot')
        try:
            for name, node in (('first', client.node_process), ('other', other)):
                client.wait_until(
                    lambda node=node: WARNING.format('/robot/lfm') in node.log,
                    f'warning of the {name} node')
            start = len(diagnostics.messages)
            text = told(diagnostics, DiagnosticStatus.WARN, 2, start).message
            assert text.startswith(WARNING.format('/robot/lfm')) and '\n' not in text
            diagnostics.wait(count=5, start=start)
            other.stop()
        finally:
            other.close()
        told(diagnostics, DiagnosticStatus.OK, 1, len(diagnostics.messages))
        log = client.node_process.log
        assert log.count(WARNING.format('/robot/lfm')) == 1
        assert 'no other node is named /robot/lfm any more' in log


def test_nodes_of_other_names_and_namespaces_do_not_warn() -> None:
    with running_node() as client:
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        others = [started(client, '-r', f'{rule}') for rule in ('__ns:=/robot', '__node:=brain')]
        try:
            client.wait_until(lambda: {('lfm', '/'), ('lfm', '/robot'), ('brain', '/')} <= set(
                client.node.get_node_names_and_namespaces()), 'all nodes')
            start = len(diagnostics.messages)
            diagnostics.wait(count=6, start=start)
            levels = {m.status[0].level for m in diagnostics.messages[start:]}
            assert levels == {DiagnosticStatus.OK}
            for node in others:
                node.stop()
            for node in (client.node_process, *others):
                assert 'another node' not in node.log
        finally:
            for node in others:
                node.close()


def test_a_node_that_comes_after_one_that_was_killed_does_not_warn() -> None:
    with running_node(check_end=False) as client:
        client.node_process.process.kill()
        client.node_process.process.wait()
        diagnostics = client.subscribe(DiagnosticArray, '/diagnostics')
        node = started(client)
        try:
            said = [m.status[0] for m in diagnostics.wait(
                lambda m: m.status[0].hardware_id == 'qwen3', count=4)]
            assert {status.level for status in said} == {DiagnosticStatus.OK}
            node.stop()
            assert 'another node' not in node.log
        finally:
            node.close()
