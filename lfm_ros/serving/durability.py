# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write missions to the disk: what was said into the log, states into checkpoints."""
from __future__ import annotations

from collections.abc import Mapping
import logging

from lfm_ros.serving.beginning import Beginning
from lfm_ros.serving.mission_record import MissionRecord
from lfm_ros.storage.storage import Storage

_log = logging.getLogger(__name__)


class Durability:
    """
    Keeps the storage up to date with the missions of a node.

    :param records: the missions, which others add and remove.
    :param beginning: of all missions; its checkpoint stays.
    """

    def __init__(self, storage: Storage, records: Mapping[str, MissionRecord],
                 beginning: Beginning) -> None:
        self._storage = storage
        self._records = records
        self._beginning = beginning
        self._pending_deletes: set[str] = set()  # not yet deleted from the log

    def log(self, record: MissionRecord) -> None:
        """Make the log equal to a mission; when that fails, storage.durability_error says so."""
        if found := record.transcript:
            if record.mission and found.logged < found.slid:
                # Nothing but a checkpoint can bring this state back, so it comes first.
                self.checkpoint(record)
                self._storage.flush()
            self._storage.write(found, record.used)

    def checkpoint(self, record: MissionRecord) -> None:
        """Have the state of a mission written; what it has not read is read first."""
        record.unstored_turns = 0
        mission = record.mission
        if mission is None or not record.unstored or self._storage.checkpoints is None:
            return
        try:
            mission.prefill_all()
        except Exception as error:  # the next turn will be answered with it
            _log.error('pending tokens of a mission cannot be read: %s', error)
            return
        self._storage.save(mission)
        record.storing = mission.digest

    def confirm(self, record: MissionRecord, retry_turns: int) -> None:
        """
        See whether the last checkpoint has become whole.

        :param retry_turns: as how many turns without a checkpoint it counts if it has not.
        """
        # What the log on the disk needs stays as long as the log is behind.
        if record.storing and not record.unlogged and not self._storage.is_saving:
            whole = bool(self._storage.newest([record.storing]))
            slid = record.mission is not None and record.mission.slid > 0
            if whole:
                record.stored = record.storing
            else:
                record.unstored_turns = retry_turns
            record.storing = ''
            if whole and slid:
                self.collect()

    def delete(self, mission_id: str) -> None:
        """Delete a mission from the disk, now or as soon as the disk takes it."""
        if not self._storage.delete(mission_id):
            self._pending_deletes.add(mission_id)
        self.collect()

    def keep(self, mission_id: str) -> None:
        """Note that a mission of this name is there again: writing it replaces the deleted one."""
        self._pending_deletes.discard(mission_id)

    @property
    def has_pending_deletes(self) -> bool:
        """Whether the log still has missions that were deleted."""
        return bool(self._pending_deletes)

    def retry_deletes(self) -> None:
        """Try the deletes again that failed."""
        self._pending_deletes = {
            name for name in self._pending_deletes if not self._storage.delete(name)}

    def is_deleted(self, mission_id: str) -> bool:
        """Return whether the log still has a mission that was deleted."""
        return mission_id in self._pending_deletes

    def collect(self) -> None:
        """Delete the checkpoints that no mission needs."""
        records = self._records.values()
        self._storage.collect([self._beginning.mission.digest,
                               *(record.stored for record in records),
                               *(record.storing for record in records)])

    def flush_all(self) -> None:
        """Write all that is not yet on the disk, as far as the disk takes it."""
        for record in self._records.values():
            if record.unlogged:
                self.log(record)
            self.checkpoint(record)
        self._storage.flush()
