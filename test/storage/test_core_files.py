# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A process that has the key of the missions leaves no core file, in which they would be read."""
import base64
from collections.abc import Iterator
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys

from node_support import ROOT
from node_support import running_node
import pytest

CORE = resource.RLIMIT_CORE
CRASH = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from lfm_ros.storage.encryption import open_cipher
import os
vault = open_cipher(sys.argv[1])
os.abort()
"""


@pytest.fixture(autouse=True)
def unlimited() -> Iterator[None]:
    """Let processes that are started leave cores."""
    before = resource.getrlimit(CORE)
    resource.setrlimit(CORE, (before[1], before[1]))
    yield
    resource.setrlimit(CORE, before)


def key_file(folder: Path) -> str:
    """Return a file with a key."""
    file = folder / 'key'
    file.touch(0o600)
    file.write_bytes(base64.b64encode(b'k' * 32))
    return str(file)


def dumps(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the kernel has dumped a core of a process that crashed; wherever to."""
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED)
    assert ended and ended.si_status == signal.SIGABRT
    process.returncode = -signal.SIGABRT
    return ended.si_code == os.CLD_DUMPED


def crash(folder: Path, key: str) -> bool:
    """Have a process with this key crash in a folder; tell whether a core was dumped."""
    return dumps(subprocess.Popen([sys.executable, '-c', CRASH, key], cwd=folder))


def test_a_crash_with_a_key_leaves_no_core_and_one_without_it_does(tmp_path: Path) -> None:
    key = key_file(tmp_path)
    before = set(tmp_path.iterdir())
    if resource.getrlimit(CORE)[0] == 0 or not crash(tmp_path, ''):
        pytest.skip('this machine allows no cores, or has no place for them')
    for file in set(tmp_path.iterdir()) - before:
        file.unlink()
    assert not crash(tmp_path, key)
    assert set(tmp_path.iterdir()) == before


def test_a_node_with_a_key_dumps_no_core_and_can_be_looked_at(tmp_path: Path) -> None:
    with running_node(missions__dir=tmp_path / 'missions', missions__key_file=key_file(tmp_path),
                      cwd=tmp_path, check_end=False, forked=False) as client:
        process = client.node_process.process
        soft, hard = resource.prlimit(process.pid, CORE)
        assert soft == 1 and hard == resource.getrlimit(CORE)[1]
        assert Path(f'/proc/{process.pid}/statm').stat().st_uid == os.getuid()
        before = set(tmp_path.iterdir())
        process.send_signal(signal.SIGABRT)
        assert not dumps(process)
        assert set(tmp_path.iterdir()) == before


def test_a_node_without_a_key_keeps_the_limit_that_it_was_given() -> None:
    with running_node(forked=False) as client:
        assert resource.prlimit(client.node_process.process.pid, CORE) == resource.getrlimit(CORE)
