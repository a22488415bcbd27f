# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All missions of a node, by name."""
from __future__ import annotations

from dataclasses import dataclass
import time

from lfm_ros.engine.model import Model
from lfm_ros.engine.tokenizer import check_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.missions.mission import Mission
from lfm_ros.missions.request import check_mission_id


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


class MissionStore:
    """
    Holds the missions of one model.

    The system prompt is read once; every new mission starts with a copy of the state after it.

    :param most: how many missions there may be.
    """

    def __init__(self, model: Model, system_prompt: str = '', most: int = 64) -> None:
        self.model = model
        self.most = most
        self._missions: dict[str, Mission] = {}
        check_text(system_prompt, 'system prompt')
        head = model.template.head(system_prompt)
        if len(head) > model.context_length // 2:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the system prompt has {len(head)} tokens '
                           f'and the context holds {model.context_length}: shorten it or raise '
                           'model.context_length')
        self._blank = Mission('', model, head)

    @property
    def nbytes(self) -> int:
        """Return the memory of all states."""
        return self._blank.nbytes + sum(m.nbytes for m in list(self._missions.values()))

    def list(self) -> list[MissionInfo]:
        """Describe all missions, in the order in which they began; from any thread."""
        now = time.monotonic()
        return [MissionInfo(m.mission_id, len(m.turns), len(m.ids), m.pending, m.nbytes, True,
                            now - m.used_at) for m in list(self._missions.values())]

    def get(self, mission_id: str) -> Mission:
        """Return a mission."""
        check_mission_id(mission_id)
        if mission_id not in self._missions:
            known = ', '.join(list(self._missions)[:5]) or 'none yet'
            raise LfmError(ErrorCode.UNKNOWN_MISSION, f"there is no mission '{mission_id}': the "
                           f'missions are {known}')
        return self._missions[mission_id]

    def get_or_create(self, mission_id: str) -> Mission:
        """Return a mission, new if need be."""
        if mission_id not in self._missions:
            check_mission_id(mission_id)
            self._check_place()
            self._missions[mission_id] = self._blank.fork(mission_id)
        return self._missions[mission_id]

    def __contains__(self, mission_id: str) -> bool:
        """Tell whether there is such a mission."""
        return mission_id in self._missions

    def observe(self, mission_id: str, text: str) -> None:
        """Tell a mission something that needs no answer; it is made if need be."""
        known = mission_id in self
        try:
            self.get_or_create(mission_id).observe(text)
        except LfmError:
            if not known:
                self.discard(mission_id)
            raise

    def discard(self, mission_id: str) -> None:
        """Delete a mission if it is there."""
        self._missions.pop(mission_id, None)

    def reset(self, mission_id: str) -> None:
        """Forget all turns of a mission."""
        self.get(mission_id)
        self._missions[mission_id] = self._blank.fork(mission_id)

    def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        self.get(mission_id)
        del self._missions[mission_id]

    def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""
        mission = self.get(mission_id)
        check_mission_id(new_mission_id)
        if new_mission_id in self._missions:
            raise LfmError(ErrorCode.MISSION_EXISTS, f"mission '{new_mission_id}' exists "
                           'already: delete it first or choose another name')
        self._check_place()
        self._missions[new_mission_id] = mission.fork(new_mission_id)

    def rewind(self, mission_id: str, turns: int) -> None:
        """Take a mission back to the end of an earlier turn."""
        self.get(mission_id).rewind(turns)

    def unread(self) -> Mission | None:
        """Return a mission with something left to read."""
        return next((m for m in self._missions.values() if m.unread), None)

    def _check_place(self) -> None:
        if len(self._missions) >= self.most:
            raise LfmError(ErrorCode.TOO_MANY_MISSIONS, f'there are {len(self._missions)} '
                           'missions: delete one or raise missions.max_count')
