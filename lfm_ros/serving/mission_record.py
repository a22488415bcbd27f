# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A mission as its node keeps it, whether it is in memory or not."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from dataclasses import dataclass

from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.mission_id import check_mission_id
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.storage.storage import Storage


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


class MissionRecord:
    """
    A mission in memory, or only its summary.

    :ivar unlogged_transcript: of a mission that was evicted while the log lacks some of it.
    :ivar stored: digest of its newest checkpoint that is proved; ``storing`` of one after it,
        which may still be on its way.
    """

    def __init__(self, mission_id: str, tokens: int, turns: int, used: float,
                 stored: str = '') -> None:
        self.mission_id = mission_id
        self.mission: Mission | None = None
        self.unlogged_transcript: Transcript | None = None
        self.tokens = tokens
        self.turns = turns
        self.used = used
        self.stored = stored
        self.storing = ''
        self.unstored_turns = 0

    @property
    def transcript(self) -> Transcript | None:
        """Return what is in memory of it."""
        return self.mission or self.unlogged_transcript

    @property
    def unlogged(self) -> bool:
        """Return whether the log lacks something of it."""
        found = self.transcript
        return found is not None and found.logged < len(found.entries)

    @property
    def unstored(self) -> bool:
        """Whether its state lacks a checkpoint."""
        return self.mission is not None and \
            self.mission.digest not in (self.storing or self.stored, '')

    def share_checkpoints(self, other: MissionRecord) -> None:
        """Have the checkpoints of another one, of which it is a copy."""
        self.stored, self.storing = other.stored, other.storing

    def note_size(self) -> None:
        """Note how long the mission in memory is, for when it is no longer there."""
        assert self.mission
        self.tokens, self.turns = len(self.mission.ids), self.mission.turn_count

    def describe(self, uptime: float, storage: Storage) -> MissionInfo:
        """
        Describe the mission; from any thread.

        :param uptime: of the storage, in seconds; 0: how long it was idle does not matter.
        """
        mission, stored_bytes, checkpoints = self.mission, 0, storage.checkpoints
        if checkpoints:
            stored_bytes = checkpoints.size_of(self.storing) or checkpoints.size_of(self.stored)
        return MissionInfo(
            self.mission_id, mission.turn_count if mission else self.turns,
            len(mission.ids) if mission else self.tokens, mission.pending if mission else 0,
            mission.nbytes if mission else 0, mission is not None, max(0.0, uptime - self.used),
            stored_bytes)


class MissionRecords(dict[str, MissionRecord]):
    """
    The missions of a node by name, in the order in which they began.

    :param limit: how many there may be.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def known(self, mission_id: str) -> MissionRecord:
        """
        Return the record of a mission.

        :raises LfmError: UNKNOWN_MISSION, INVALID_MISSION_ID.
        """
        check_mission_id(mission_id)
        if mission_id not in self:
            known = few(list(self)) or 'none yet'
            raise LfmError(ErrorCode.UNKNOWN_MISSION, f"there is no mission '{mission_id}': the "
                           f'missions are {known}')
        return self[mission_id]

    def check_count(self) -> None:
        """
        Refuse another mission when there are as many as there may be.

        :raises LfmError: TOO_MANY_MISSIONS.
        """
        if len(self) >= self._limit:
            raise LfmError(ErrorCode.TOO_MANY_MISSIONS, f'there are {len(self)} '
                           'missions: delete one or raise missions.max_count')

    def find(self, storage: Storage, is_deleted: Callable[[str], bool]) -> None:
        """Add the missions of the log that are not known yet."""
        for summary in storage.log.list():
            name = summary.mission_id
            if name not in self and not is_deleted(name):
                self[name] = MissionRecord(name, summary.tokens, summary.turns, summary.used)
                self[name].stored = storage.newest(storage.log.digests(name))

    def next_pending(self, but: Container[str]) -> Mission | None:
        """Return a mission in memory with something left to read, and not one of these."""
        return next((record.mission for record in self.values()
                     if record.mission and record.mission.pending_sizes
                     and not record.mission.offloaded
                     and record.mission_id not in but), None)
