# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How missions are kept: how many, how long, and what happens when a context is full."""
from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from lfm_ros.conversation.context_window import REFUSE


@dataclass(frozen=True)
class RetentionPolicy:
    """
    How missions are kept.

    :param max_missions: how many missions there may be.
    :param overflow: what to do when a context is full.
    :param expire: seconds after which a mission that was not used is deleted; 0: never. Only time
        in which the node runs counts, so a clock that jumps deletes nothing.
    :param never_expire: patterns of the names of missions that stay, as in a shell.
    :param checkpoint_turns: turns after which a state is stored; 0: not because of turns.
    :param checkpoint_idle: seconds without work after which it is; 0: not because of idleness.
    :param state_bytes_limit: bytes that all states may take together; 0: no limit.
    :param device_bytes_limit: likewise on a device with memory of its own.
    """

    max_missions: int = 64
    overflow: str = REFUSE
    expire: float = 0.0
    never_expire: tuple[str, ...] = ()
    checkpoint_turns: int = 8
    checkpoint_idle: float = 10.0
    state_bytes_limit: int = 0
    device_bytes_limit: int = 0

    def expires(self, mission_id: str, idle_seconds: float) -> bool:
        """Return whether a mission that was idle for so long has expired."""
        return 0 < self.expire < idle_seconds and \
            not any(fnmatchcase(mission_id, pattern) for pattern in self.never_expire)
