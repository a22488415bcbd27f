# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All missions of a node, by name: in memory as far as they fit, the rest on the disk."""
from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterator
from collections.abc import Sequence
import logging

from lfm_ros.conversation.context_window import SLIDE
from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.mission_id import check_mission_id
from lfm_ros.conversation.mission_id import check_new_mission_id
from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.serving.archives import Archives
from lfm_ros.serving.beginning import Beginning
from lfm_ros.serving.durability import Durability
from lfm_ros.serving.memory import MissionMemory
from lfm_ros.serving.mission_record import MissionInfo
from lfm_ros.serving.mission_record import MissionRecord
from lfm_ros.serving.mission_record import MissionRecords
from lfm_ros.serving.query import check_images
from lfm_ros.serving.restore import restore
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.structured_output import StructuredOutput
from lfm_ros.storage.storage import Storage

_log = logging.getLogger(__name__)


class MissionStore:
    """
    Holds the missions of one model.

    The system prompt is read once; every new mission starts with a copy of the state after it.

    :param storage: where missions are kept that are not in memory, and survive the process.
    :ivar system_prompt: of missions that are given none of their own.
    :ivar memory: keeps the missions within their memory.
    :ivar structured_output: has grammars compiled.
    :ivar archives: exports and imports missions.
    """

    def __init__(self, model: Model, system_prompt: str = '',
                 retention: RetentionPolicy = RetentionPolicy(),
                 storage: Storage | None = None) -> None:
        self.model = model
        self.retention = retention
        self.storage = storage or Storage(None, model)
        self._records = MissionRecords(retention.max_missions)
        self._turns = 0
        if retention.overflow == SLIDE:
            model.rotary  # refuse now what this model cannot do
        self.system_prompt = system_prompt
        self._beginning = Beginning(model, system_prompt, retention.overflow, self.storage)
        self._durability = Durability(self.storage, self._records, self._beginning)
        self.memory = MissionMemory(model, self._records, self._beginning, self.storage,
                                    self._durability, retention.state_bytes_limit,
                                    retention.device_bytes_limit)
        self.structured_output = StructuredOutput(model, self.memory)
        self.archives = Archives(model, self._records, self.storage, self._durability)
        self._records.find(self.storage, self._durability.is_deleted)
        self._durability.collect()

    @property
    def written(self) -> tuple[int, int, int]:
        """Return turns committed, and bytes written into the log and into checkpoints."""
        return self._turns, *self.storage.bytes_written

    def list(self) -> list[MissionInfo]:
        """Describe all missions, in the order in which they began; from any thread."""
        now = self.storage.uptime
        return [record.describe(now, self.storage) for record in list(self._records.values())]

    def get(self, mission_id: str) -> Mission:
        """Return a mission; it is restored if need be."""
        record = self._records.known(mission_id)
        record.used = self.storage.uptime
        if record.mission is None:
            return restore(record, self._beginning.mission, self.storage, self.memory)
        self.memory.load(record.mission)
        return record.mission

    def get_or_create(self, mission_id: str) -> Mission:
        """Return a mission, new if need be."""
        if mission_id not in self._records:
            for _ in self.create(mission_id):
                pass
        return self.get(mission_id)

    def create(self, mission_id: str, cancel_token: CancelToken | None = None) -> Iterator[None]:
        """
        Begin a mission.

        :returns: after every run of the model that this takes.
        :raises LfmError: INVALID_MISSION_ID, TOO_MANY_MISSIONS, OVER_BUDGET and others.
        """
        check_mission_id(mission_id)
        self._records.check_count()
        yield from self._renew_beginning(cancel_token)
        self._begin(mission_id, self._beginning.mission)

    def __contains__(self, mission_id: str) -> bool:
        """Return whether there is such a mission."""
        return mission_id in self._records

    def observe(self, mission_id: str, text: str, images: Sequence[ImageSource] = ()) -> None:
        """Add context to a mission that needs no answer; the mission is made if need be."""
        known = mission_id in self
        try:
            check_images(images)
            self.memory.reserve_for_images(images, mission_id)
            prepared_images = [self.model.require_vision().preprocess(image) for image in images]
            mission = self.get_or_create(mission_id)
            self.memory.reserve(
                mission, len(mission.ids) + len(mission.encode(text, prepared_images)))
            mission.observe(text, prepared_images)
        except LfmError:
            if not known:
                self.discard(mission_id)
            raise
        # No request waits for an observation: it goes to the disk with others, or with a turn.

    def with_tools(self, mission: Mission, tools: str) -> Mission:
        """
        Return a mission as it would be with other tools; :meth:`commit` puts it in its place.

        :raises LfmError: UNSUPPORTED, PROMPT_TOO_LONG, OVER_BUDGET.
        """
        other = mission.with_tools(tools)
        self.memory.reserve_new(other, len(other.ids), mission.mission_id)
        other.before_cut = self.storage.flush
        return other

    def put(self, mission: Mission) -> None:
        """
        Take a mission that was made or changed elsewhere, of which much may be pending.

        :raises LfmError: TOO_MANY_MISSIONS, OVER_BUDGET, INVALID_MISSION_ID.
        """
        name = mission.mission_id
        if name not in self:
            check_mission_id(name)
            self._records.check_count()
        self.memory.reserve_new(mission, len(mission.ids), name)
        mission.before_cut = self.storage.flush
        if name not in self:
            self._add_record(name)
        self.commit(name, mission)

    def commit(self, mission_id: str, changed: Mission | None = None) -> None:
        """
        Write a mission to the log; when that fails, storage.durability_error says so.

        :param changed: what is in its place from now on.
        """
        record = self._records[mission_id]
        if changed and changed is not record.mission:
            record.mission, record.stored, record.storing = changed, '', ''
        mission = record.mission
        assert mission
        turns = mission.turn_count
        if turns > record.turns:
            record.unstored_turns += turns - record.turns
            self._turns += turns - record.turns
        record.note_size()
        record.used = self.storage.uptime
        self._durability.log(record)

    def discard(self, mission_id: str) -> None:
        """Delete a mission if it is there."""
        if self._records.pop(mission_id, None):  # the log may have an earlier version of it
            self._durability.delete(mission_id)

    def reset(self, mission_id: str) -> None:
        """Forget all turns of a mission."""
        record = self._records.known(mission_id)
        for _ in self._renew_beginning():
            pass
        record.mission = record.unlogged_transcript = None
        record.stored = record.storing = ''
        self._begin(mission_id, self._beginning.mission, record)
        self.commit(mission_id)
        self._durability.collect()

    def delete(self, mission_id: str) -> None:
        """Delete a mission."""
        self._records.known(mission_id)
        self.discard(mission_id)

    def fork(self, mission_id: str, new_mission_id: str) -> None:
        """Copy a mission."""
        mission = self.get(mission_id)
        check_new_mission_id(new_mission_id, self._records)
        self._records.check_count()
        self._begin(new_mission_id, mission)
        self._records[new_mission_id].share_checkpoints(self._records[mission_id])
        self.commit(new_mission_id)

    def rewind(self, mission_id: str, turns: int) -> None:
        """Take a mission back to the end of an earlier turn."""
        mission = self.get(mission_id)
        mission.rewind(turns)
        record = self._records[mission_id]
        record.storing = ''
        record.stored = self.storage.newest([e.digest for e in mission.entries])
        self.commit(mission_id)
        self._durability.collect()

    def save(self, mission_id: str) -> int:
        """
        Store the state of a mission now.

        :returns: the bytes that it takes on disk.
        :raises LfmError: STORAGE_FAILED when it could not be written.
        """
        self.get(mission_id)
        record = self._records[mission_id]
        if self.storage.folder is None:
            raise LfmError(ErrorCode.STORAGE_FAILED, 'missions.dir is not set, so missions are '
                           'not stored: set it to a folder')
        self._durability.log(record)
        self._durability.checkpoint(record)
        self.storage.flush()
        if self.storage.durability_error:
            raise LfmError(ErrorCode.STORAGE_FAILED, self.storage.durability_error)
        return record.describe(0.0, self.storage).stored_bytes

    def next_pending(self, but: Container[str] = ()) -> Mission | None:
        """Return a mission in memory with something left to read, and not one of these."""
        return self._records.next_pending(but)

    def maintain(self, idle_seconds: float) -> None:
        """
        Do what is due: write what is not yet written, let go of what expired.

        :param idle_seconds: how long there was nothing to answer.
        """
        if self.storage.retry():
            for record in self._records.values():
                if record.transcript:
                    record.transcript.logged = 0
            self._records.find(self.storage, self._durability.is_deleted)
        retention, now = self.retention, self.storage.uptime
        failed = False
        self._durability.retry_deletes()
        for record in list(self._records.values()):
            if record.mission_id in self.memory.busy:
                continue  # it is in the middle of a turn, of which nothing may be kept
            if record.unlogged and not failed:
                self._durability.log(record)
                failed = record.unlogged
            if retention.expires(record.mission_id, now - record.used):
                _log.info('a mission expired')
                self.discard(record.mission_id)
            elif 0 < retention.checkpoint_turns <= record.unstored_turns or \
                    0 < retention.checkpoint_idle <= idle_seconds:
                self._durability.checkpoint(record)
            self._durability.confirm(record, retention.checkpoint_turns)
        if not (failed or self._durability.has_pending_deletes):
            self.storage.maintain()
        if self.model.vision:
            self.model.vision.release_idle()

    def flush_all(self) -> None:
        """Write all that is not yet on the disk, as far as the disk takes it."""
        self._durability.flush_all()

    def evict(self, mission_id: str) -> None:
        """Free the memory of a mission; it is restored when it is needed."""
        self.memory.evict(self._records[mission_id])

    def _renew_beginning(self, cancel_token: CancelToken | None = None) -> Iterator[None]:
        """Read the system prompt anew where its text is another one by now, that of today."""
        if ids := self._beginning.outdated:
            self.memory.reserve_new(self._beginning.mission, len(ids))
            yield from self._beginning.read(ids, cancel_token)

    def _add_record(self, mission_id: str) -> MissionRecord:
        record = self._records[mission_id] = MissionRecord(mission_id, 0, 0, self.storage.uptime)
        self._durability.keep(mission_id)
        return record

    def _begin(self, mission_id: str, like: Mission, record: MissionRecord | None = None
               ) -> Mission:
        """Begin a mission as a copy of another; ``record``: of the one that it replaces."""
        self.memory.reserve_copy(like, mission_id, like.mission_id)
        mission = like.fork(mission_id)
        record = record or self._add_record(mission_id)
        record.mission = mission
        record.note_size()
        record.unstored_turns = record.turns
        self._durability.keep(mission_id)
        return mission
