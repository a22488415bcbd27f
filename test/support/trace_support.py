# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a process writes and whom it could talk to, as Linux tells it without any rights."""
from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import re
import site
import threading
from types import TracebackType

import pytest

# In these ONNX Runtime reports nothing of its own accord, and a test of it would prove nothing.
QUIET = ('CI', 'TF_BUILD', 'GITHUB_ACTIONS', 'GITLAB_CI', 'CIRCLECI', 'TRAVIS', 'JENKINS_URL',
         'CODEBUILD_BUILD_ID', 'BUILDKITE', 'TEAMCITY_VERSION', 'APPVEYOR',
         'BITBUCKET_BUILD_NUMBER', 'ORT_RUNNING_UNIT_TESTS', 'ORT_DISABLE_TELEMETRY')
ELSEWHERE = ('ROS_HOME', 'ROS_LOG_DIR', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME')
INTERVAL = 0.02  # seconds between two looks
# Of Fast DDS: its shared memory. Of LTTng, which ROS 2 is built with: whether a trace is wanted.
SHARED = re.compile(r'/dev/shm/(fastdds_|fastrtps_|sem\.|lttng-ust-)')
NO_FILE = re.compile(r'(socket|pipe|anon_inode):|/dev/(null|pts/)|/memfd:|.* \(deleted\)$')
DDS_PORTS = range(7000, 7400 + 250 * 233)


def move_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the processes to come an empty home with the places for caches and scratch in it."""
    (home / 'tmp').mkdir(parents=True)
    monkeypatch.setenv('PYTHONUSERBASE', site.getuserbase())  # packages may be in the real one
    for name, value in (('HOME', home), ('TMPDIR', home / 'tmp'),
                        ('XDG_CACHE_HOME', home / '.cache')):
        monkeypatch.setenv(name, str(value))
    for name in (*QUIET, *ELSEWHERE):
        monkeypatch.delenv(name, raising=False)


def files_in(folder: Path, *besides: str) -> list[str]:
    """Return the files in a folder, relative to it, but those with one of these beginnings."""
    found = [str(file.relative_to(folder)) for file in folder.rglob('*') if not file.is_dir()]
    return sorted(name for name in found if not name.startswith(besides or ('/',)))


def open_files(pid: int) -> dict[str, bool]:
    """Return what a process has open, and whether it can write there."""
    found = {}
    for descriptor in Path(f'/proc/{pid}/fd').iterdir():
        with suppress(OSError):  # it was closed meanwhile
            path = os.readlink(descriptor)
            info = Path(f'/proc/{pid}/fdinfo', descriptor.name).read_text()
            flags = int(re.findall(r'^flags:\s*(\d+)', info, re.MULTILINE)[0], 8)
            found[path] = flags & os.O_ACCMODE != os.O_RDONLY
    return found


def sockets(pid: int) -> set[str]:
    """Return the sockets of a process that have an address: kind, its own and the other end's."""
    own = {path[8:-1] for path in open_files(pid) if path.startswith('socket:')}
    found = set()
    for table in Path(f'/proc/{pid}/net').iterdir():
        if not re.fullmatch(r'(tcp|udp|udplite|raw|icmp)6?|packet|unix', table.name):
            continue
        for fields in map(str.split, table.read_text().splitlines()[1:]):
            if table.name == 'unix' and fields[6] in own and len(fields) > 7:
                found.add(f'unix {fields[7]}')
            elif table.name == 'packet' and fields[8] in own:
                found.add('packet')
            elif table.name[-1] not in 'xt' and fields[9] in own:
                found.add(' '.join((table.name.rstrip('6'), port(fields[1]), port(fields[2]))))
    return found


def port(address: str) -> str:
    """Return the port of an address in /proc/net, or ``any`` when it is 0."""
    return str(int(address.rpartition(':')[2], 16) or 'any')


def is_of_dds(name: str) -> bool:
    """Tell whether a socket is one of DDS: UDP, at a port of it or to send from, to nobody yet."""
    kind, _, ports = name.partition(' ')
    own, _, other = ports.partition(' ')
    if kind != 'udp' or other != 'any' or own == 'any':
        return False
    low, high = Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split()
    return int(own) in DDS_PORTS or int(low) <= int(own) <= int(high)


class Watcher:
    """
    Looks at a process again and again, from another thread, while the context is entered.

    :ivar sockets: all that were seen.
    :ivar written: files that it could write to.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.sockets: set[str] = set()
        self.written: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> None:
        """Look once."""
        with suppress(OSError):  # the process has ended
            self.sockets |= sockets(self.pid)
            self.written |= {path for path, writes in open_files(self.pid).items()
                             if writes and not NO_FILE.match(path) and not SHARED.match(path)}

    def segments(self) -> list[Path]:
        """Return the shared memory that DDS has made for this process alone."""
        found = [Path(path.removesuffix('_el')) for path in open_files(self.pid)
                 if re.fullmatch(r'/dev/shm/fast(dds|rtps)_[0-9a-f]{16}_el', path)]
        return [path for path in found if path.exists()]

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.look()
