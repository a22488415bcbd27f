# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The names of missions."""
from __future__ import annotations

from collections.abc import Container

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError

MAX_ID_LENGTH = 128


def check_new_mission_id(mission_id: str, known: Container[str]) -> None:
    """Refuse a name that is none, or that another mission has."""
    check_mission_id(mission_id)
    if mission_id in known:
        raise LfmError(ErrorCode.MISSION_EXISTS, f"mission '{mission_id}' exists already: delete "
                       'it first or choose another name')


def check_mission_id(mission_id: str) -> None:
    """Refuse a name that could be anything but a name."""
    good = len(mission_id) <= MAX_ID_LENGTH and \
        all(c.isalnum() or c in '_-.: ' for c in mission_id)
    if not good or not mission_id or mission_id[0] in '. ' or mission_id[-1] == ' ':
        raise LfmError(ErrorCode.INVALID_MISSION_ID, f'{mission_id[:MAX_ID_LENGTH]!r} is not a '
                       f'mission id: use up to {MAX_ID_LENGTH} letters, digits and _-.: and begin '
                       'with a letter or digit')
