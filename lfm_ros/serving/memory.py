# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the missions of a node within their memory: idle ones are evicted, caches shrink."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.model import Model
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.durability import Durability
from lfm_ros.serving.memory_budget import in_mb
from lfm_ros.serving.mission_record import MissionRecord
from lfm_ros.storage.storage import Storage


class MissionMemory:
    """
    The memory of all missions of one model.

    :param records: the missions, which others add and remove.
    :param empty_mission: the one that others begin as; it always stays.
    :ivar limit: bytes that all of it may take; 0: no limit.
    :ivar busy: the missions that are answered now; they are not evicted.
    """

    def __init__(self, model: Model, records: Mapping[str, MissionRecord], empty_mission: Mission,
                 storage: Storage, durability: Durability, limit: int) -> None:
        self.limit = limit
        self.busy: set[str] = set()
        self._model = model
        self._records = records
        self._empty_mission = empty_mission
        self._storage = storage
        self._durability = durability

    @property
    def nbytes(self) -> int:
        """The bytes that states, features of images, grammars and unwritten missions take."""
        records, model = list(self._records.values()), self._model
        unlogged = sum(image.nbytes for record in records if record.unlogged_transcript
                       for entry in record.unlogged_transcript.entries for image in entry.images)
        missions = [record.mission for record in records]
        features = model.vision.nbytes if model.vision else 0
        grammars = model.grammars.nbytes if model.grammar_engine_loaded else 0
        return self._empty_mission.nbytes + sum(m.nbytes for m in missions if m) + features + \
            grammars + self._storage.memory + unlogged

    def reserve(self, mission: Mission, tokens: int) -> None:
        """
        See that a mission can grow to that many tokens; evict others if need be.

        :raises LfmError: OVER_BUDGET.
        """
        tokens = min(tokens, self._model.context_length)
        self.free(mission.nbytes_at(tokens) - mission.nbytes, mission.mission_id)
        mission.state.reserve(tokens)

    def reserve_for_images(self, images: Sequence[ImageSource], mission_id: str) -> None:
        """
        See that the largest of these images can be decoded; evict missions if need be.

        :param mission_id: of the mission that they are for; it stays.
        :raises LfmError: OVER_BUDGET.
        """
        if self.limit:
            self.free(max((image.memory for image in images), default=0), mission_id)

    def free(self, needed: int, *keep: str) -> None:
        """
        See that so many bytes more fit the limit.

        :param keep: missions that stay, beside those that are answered now.
        :raises LfmError: OVER_BUDGET.
        """
        if not self.limit or needed <= 0:
            return
        model = self._model
        while self.nbytes + needed > self.limit:
            if model.vision and model.vision.nbytes:
                model.vision.shrink(0)
                continue
            if model.grammar_engine_loaded and model.grammars.shrink():
                continue
            others = [record for record in self._records.values()
                      if record.mission and record.mission_id not in self.busy.union(keep)]
            if not others:
                raise LfmError(ErrorCode.OVER_BUDGET, f'this needs {in_mb(needed)} MB more, and '
                               f'missions use {in_mb(self.nbytes)} of {in_mb(self.limit)} MB: '
                               'ask for fewer tokens, reset the mission, or raise '
                               'memory.budget_mb')
            self.evict(min(others, key=lambda record: record.used))

    def evict(self, record: MissionRecord) -> None:
        """Free the memory of a mission; it is restored when it is needed."""
        mission = record.mission
        if mission is None:
            return
        self._durability.log(record)
        self._durability.checkpoint(record)
        self._storage.flush()
        if record.unlogged:  # the disk is full, say; a transcript is small
            record.unlogged_transcript = Transcript(
                mission.mission_id, mission.fingerprint, mission.ids, [],
                mission.chunk_sizes + mission.pending_sizes, mission.entries, mission.slid,
                mission.logged)
        record.mission = None
