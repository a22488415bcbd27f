# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Missions as files: exported from a node, imported into another."""
from __future__ import annotations

from pathlib import Path

from lfm_ros.engine.model import Model
from lfm_ros.serving.durability import Durability
from lfm_ros.serving.mission_record import MissionRecord
from lfm_ros.serving.mission_record import MissionRecords
from lfm_ros.storage.archive_reader import ArchiveReader
from lfm_ros.storage.archive_writer import ArchiveWriter
from lfm_ros.storage.storage import Storage


class Archives:
    """
    Exports and imports the missions of one model.

    :param records: the missions; an imported one is added.
    """

    def __init__(self, model: Model, records: MissionRecords, storage: Storage,
                 durability: Durability) -> None:
        self._model = model
        self._records = records
        self._storage = storage
        self._durability = durability

    def writer(self, mission_id: str) -> ArchiveWriter:
        """Gather what an archive of a mission holds; its write() may go to another thread."""
        record = self._records.known(mission_id)
        self._durability.checkpoint(record)
        self._storage.flush()
        return ArchiveWriter.of(record.transcript or self._storage.read(mission_id),
                                self._storage.checkpoints, self._model.name, self._storage.cipher)

    def export(self, mission_id: str, file: Path) -> int:
        """
        Write a mission into a file, with its state where states are stored.

        With a key it is encrypted: only those can import it who have the key.

        :returns: the size of the file in bytes.
        :raises LfmError: UNKNOWN_MISSION, STORAGE_FAILED.
        """
        return self.writer(mission_id).write(file)

    def import_(self, file: Path, mission_id: str = '') -> str:
        """
        Import a mission from a file; it is restored when it is needed.

        :param mission_id: its name here; empty: the one it had.
        :returns: its name here.
        :raises LfmError: ARCHIVE_INVALID, MISSION_EXISTS, STORAGE_FAILED and others.
        """
        with ArchiveReader(file, self._storage.cipher) as archive:
            name, found = archive.name_here(mission_id, self._records), archive.transcript
            self._records.check_count()
            if found.fingerprint == self._model.folder.fingerprint:
                archive.check_ids(self._model.vocabulary)
            try:
                self._storage.import_archive(archive, name)
                self._durability.keep(name)
                self._records[name] = record = MissionRecord(
                    name, len(found.ids), found.turn_count, self._storage.uptime)
                record.stored = self._storage.newest([entry.digest for entry in found.entries])
            finally:
                self._durability.collect()
        return name
