# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing is written but what is told in SECURITY.md, and nothing is sent but by DDS."""
from collections.abc import Iterator
import os
from pathlib import Path
import socket
import subprocess
import sys

from node_support import ROOT
from node_support import running_node
import pytest
from trace_support import files_in
from trace_support import is_of_dds
from trace_support import move_home
from trace_support import sockets
from trace_support import Watcher

OURS = ('.cache/lfm_ros/', '.ros/log/', 'missions/')


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give an empty home; the tests' processes start in another empty folder."""
    home = tmp_path / 'home'
    move_home(home, monkeypatch)
    work = tmp_path / 'work'
    work.mkdir()
    yield home
    assert files_in(work) == [], 'something was written to where the process was started'


def ends_well(process: subprocess.Popen[str], watcher: Watcher) -> str:
    with watcher:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def test_the_command_writes_nothing_and_opens_no_socket(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(ROOT)!r})\n'
         'from lfm_ros.cli.main import main; sys.exit(main(sys.argv[1:]))', 'ask', 'demo', 'hi'],
        cwd=home.parent / 'work', stdout=subprocess.PIPE, text=True)
    watcher = Watcher(process.pid)
    assert ends_well(process, watcher).strip()
    assert files_in(home, *OURS) == []
    assert watcher.sockets == set() and watcher.written == set()


def test_the_node_writes_and_sends_only_what_is_told(home: Path) -> None:
    with running_node(cwd=home.parent / 'work', missions__dir=home / 'missions') as client:
        with Watcher(client.node_process.process.pid) as watcher:
            assert client.ask('hello', max_tokens=5).error_code == 0
            assert client.generate('hello', max_tokens=5).response().error_code == 0
            watcher.look()
            segments = watcher.segments()
            client.node_process.stop()
    assert [s for s in watcher.sockets if not is_of_dds(s)] == []
    assert any(is_of_dds(s) for s in watcher.sockets)
    allowed = tuple(str(home / name) for name in OURS)
    assert [path for path in watcher.written if not path.startswith(allowed)] == []
    assert str(home / 'missions' / 'missions.db') in watcher.written
    assert files_in(home, *OURS) == []
    assert files_in(home / 'missions') and files_in(home / '.ros')
    assert [path for path in segments if path.exists()] == [], 'shared memory was left'


def test_prepared_graphs_are_all_that_is_written_without_missions(home: Path) -> None:
    with running_node(cwd=home.parent / 'work') as client:
        assert client.ask('hello', max_tokens=5).error_code == 0
    assert files_in(home, '.cache/lfm_ros/', '.ros/log/') == []
    assert files_in(home / '.cache' / 'lfm_ros')


def test_a_socket_that_is_not_of_dds_would_be_found(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, \
            socket.socket() as server, socket.socket() as stream, \
            socket.socket(socket.AF_UNIX) as local:
        datagram.connect(('127.0.0.1', 53))
        server.bind(('127.0.0.1', 0))
        server.listen()
        stream.connect(server.getsockname())
        local.bind(str(tmp_path / 'door'))
        found = [s for s in sockets(os.getpid()) if not is_of_dds(s)]
        listening = server.getsockname()[1]
        assert f'udp {datagram.getsockname()[1]} 53' in found
        assert f'tcp {listening} any' in found
        assert f'tcp {stream.getsockname()[1]} {listening}' in found
        assert f'unix {tmp_path / "door"}' in found
