# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The place of a mission in the store, and what others are told of it."""
from __future__ import annotations

from dataclasses import dataclass

from lfm_ros.missions.mission import Mission
from lfm_ros.missions.transcript import Transcript


@dataclass(frozen=True)
class MissionInfo:
    """One mission at one moment; fields as in ``msg/MissionStatus``."""

    mission_id: str
    turns: int
    tokens: int
    pending_tokens: int
    bytes: int
    resident: bool
    idle_seconds: float
    stored_bytes: int = 0


class Slot:
    """
    The place of a mission: it is there as a whole, or only its summary is.

    :ivar aside: its transcript, where the log lacks some of it.
    :ivar stored: digest of its newest checkpoint that is proved; ``storing`` of one after it,
        which may still be on its way.
    """

    def __init__(self, mission_id: str, tokens: int, turns: int, used: float,
                 stored: str = '') -> None:
        self.mission_id = mission_id
        self.mission: Mission | None = None
        self.aside: Transcript | None = None
        self.tokens = tokens
        self.turns = turns
        self.used = used
        self.stored = stored
        self.storing = ''
        self.unstored_turns = 0

    @property
    def transcript(self) -> Transcript | None:
        """Return what is in memory of it."""
        return self.mission or self.aside

    @property
    def unlogged(self) -> bool:
        """Tell whether the log lacks something of it."""
        found = self.transcript
        return found is not None and found.logged < len(found.entries)

    @property
    def unstored(self) -> bool:
        """Tell whether its state is to be written."""
        return self.mission is not None and \
            self.mission.digest not in (self.storing or self.stored, '')
