# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a process and those that it started take, seen from outside (Linux)."""
from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import select

_PAGE = os.sysconf('SC_PAGE_SIZE')


@dataclass(frozen=True)
class Member:
    """A process, told from a later one with the same id by when it started."""

    pid: int
    started: int  # clock ticks since boot

    @property
    def alive(self) -> bool:
        """Tell whether it still runs; one that ended and was not waited for counts as ended."""
        state = _stat(self.pid)
        return bool(state) and state[0] != 'Z' and int(state[19]) == self.started


@dataclass(frozen=True)
class Usage:
    """Bytes resident and files open: of the process, and of all its descendants together."""

    own_rss: int
    own_files: int
    children: int
    child_rss: int
    child_files: int


def descendants(pid: int) -> list[Member]:
    """Return the processes that a process started, and that those started."""
    parents: dict[int, list[Member]] = {}
    for name in os.listdir('/proc'):
        state = _stat(int(name)) if name.isdigit() else []
        if state and state[0] != 'Z':
            parents.setdefault(int(state[1]), []).append(Member(int(name), int(state[19])))
    found: list[Member] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += [child.pid for child in children]
    return found


def wait_for_end(pid: int, seconds: float = 60.0) -> None:
    """Wait until a process has ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert poll.poll(1000 * seconds), f'process {pid} goes on'
    finally:
        os.close(process)


def usage(pid: int) -> Usage:
    """Return what a process and its descendants take at this moment."""
    children = descendants(pid)
    return Usage(_rss(pid), _files(pid), len(children), sum(_rss(c.pid) for c in children),
                 sum(_files(c.pid) for c in children))


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the name, or nothing when it is gone."""
    try:
        return Path(f'/proc/{pid}/stat').read_text(errors='replace').rpartition(')')[2].split()
    except OSError:
        return []


def _rss(pid: int) -> int:
    try:
        return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _files(pid: int) -> int:
    try:
        return len(os.listdir(f'/proc/{pid}/fd'))
    except OSError:
        return 0
