# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the missions of a node within their memory: idle ones are evicted, caches shrink."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.beginning import Beginning
from lfm_ros.serving.durability import Durability
from lfm_ros.serving.memory_budget import in_mb
from lfm_ros.serving.mission_record import MissionRecord
from lfm_ros.storage.storage import Storage


class MissionMemory:
    """
    The memory of all missions of one model.

    :param records: the missions, which others add and remove.
    :param beginning: of all missions; it always stays.
    :ivar limit: bytes that all of it may take in the process; 0: no limit.
    :ivar device_limit: likewise in memory of a device that is no part of the process.
    :ivar busy: the missions that are answered now; they are not evicted.
    """

    def __init__(self, model: Model, records: Mapping[str, MissionRecord], beginning: Beginning,
                 storage: Storage, durability: Durability, limit: int,
                 device_limit: int = 0) -> None:
        self.limit = limit
        self.device_limit = device_limit
        self.busy: set[str] = set()
        self._model = model
        self._records = records
        self._beginning = beginning
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
        missions.append(self._beginning.mission)
        return sum(_host_bytes(m) for m in missions if m) + features + grammars + \
            self._storage.memory + unlogged

    @property
    def device_nbytes(self) -> int:
        """The bytes that states take on a device with memory of its own."""
        missions = [record.mission for record in list(self._records.values())]
        return self._beginning.mission.device_nbytes + sum(m.device_nbytes for m in missions if m)

    def reserve(self, mission: Mission, tokens: int) -> None:
        """
        See that a mission can grow to that many tokens; evict others if need be.

        :raises LfmError: OVER_BUDGET.
        """
        tokens = min(tokens, self._model.context_length)
        on_device = mission.device_nbytes_at(tokens) - mission.device_nbytes
        self.free_device(on_device, mission.mission_id)
        self.free(mission.nbytes_at(tokens) - mission.nbytes - on_device, mission.mission_id)
        mission.state.reserve(tokens)

    def reserve_copy(self, mission: Mission, *keep: str) -> None:
        """
        See that there is memory for a copy of a mission; evict others if need be.

        :raises LfmError: OVER_BUDGET.
        """
        self.free_device(mission.device_nbytes, *keep)
        self.free(_host_bytes(mission), *keep)

    def reserve_new(self, mission: Mission, tokens: int, *keep: str) -> None:
        """
        See that there is memory for another mission like this one, with so many tokens.

        :raises LfmError: OVER_BUDGET.
        """
        tokens = min(tokens, self._model.context_length)
        on_device = mission.device_nbytes_at(tokens)
        self.free_device(on_device, *keep)
        self.free(mission.nbytes_at(tokens) - on_device, *keep)

    def load(self, mission: Mission) -> None:
        """
        Bring the state of a mission back to the device, if it was offloaded.

        :raises LfmError: OVER_BUDGET.
        """
        if mission.offloaded:
            self.free_device(mission.device_nbytes_at(len(mission.ids)), mission.mission_id)
            mission.move_to(self._model.memory)

    def free_device(self, needed: int, *keep: str) -> None:
        """
        See that so many bytes more fit the limit of the device; offload missions if need be.

        :raises LfmError: OVER_BUDGET.
        """
        if not self.device_limit or needed <= 0:
            return
        while self.device_nbytes + needed > self.device_limit:
            if not self.offload_oldest(*keep):
                raise LfmError(ErrorCode.OVER_BUDGET, f'this needs {in_mb(needed)} MB more on the '
                               f'device, and missions use {in_mb(self.device_nbytes)} of '
                               f'{in_mb(self.device_limit)} MB there: ask for fewer tokens, '
                               'reset the mission, or raise memory.device_budget_mb')

    def offload_oldest(self, *keep: str) -> bool:
        """
        Move the state that was used longest ago from the device to the host, or to the disk.

        :returns: whether there was one; those that are answered now stay.
        """
        others = [record for record in self._records.values()
                  if record.mission and record.mission.state.memory.on_device
                  and record.mission_id not in self.busy.union(keep)]
        if not others:
            return False
        record = min(others, key=lambda record: record.used)
        assert record.mission
        if not self._offload(record.mission, record.mission_id, *keep):
            self.evict(record)
        self._model.memory.give_back()
        return True

    def _offload(self, mission: Mission, *keep: str) -> bool:
        """Move a state to the memory of the host; return whether there is enough of it."""
        if not self._model.memory.separate:
            return False
        try:
            self.free(mission.device_nbytes, *keep)
        except LfmError:
            return False
        mission.move_to(HOST)
        return True

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
            # One on a device has next to nothing in the memory of the process.
            self.evict(min(others, key=lambda record: (
                record.mission is not None and record.mission.device_nbytes > 0, record.used)))

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


def _host_bytes(mission: Mission) -> int:
    """Return the bytes of a mission in the memory of the process."""
    # Another thread may ask while the state changes between the two.
    return max(0, mission.nbytes - mission.device_nbytes)
