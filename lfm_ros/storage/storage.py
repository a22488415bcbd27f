# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A folder of missions: its lock, its log and its checkpoints."""
from __future__ import annotations

import logging
from pathlib import Path

from lfm_ros.conversation.mission import Mission
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.model import Model
from lfm_ros.storage.archive_reader import ArchiveReader
from lfm_ros.storage.checkpoint_writer import CheckpointWriter
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.checkpoints import CheckpointSegment
from lfm_ros.storage.checkpoints import Snapshot
from lfm_ros.storage.durable_log import DurableLog
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.layout import LOG_FILE
from lfm_ros.storage.layout import STATES
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.missions_folder import cannot_use
from lfm_ros.storage.missions_folder import MissionsFolder

MAX_CHAIN_LENGTH = 64  # checkpoints that stand on each other before one is written anew

_log = logging.getLogger(__name__)


class Storage:
    """
    Keeps transcripts in a log and states in checkpoints.

    Without a folder the log is in memory: missions can be evicted, and end with the process.
    When the disk fails the missions go on in memory; ``durability_error`` says so, and what was
    not written is written when the disk works again.

    :param folder: made if need be; None: nothing outlives the process.
    :param cipher: seals what is written there.
    :param strict: refuse a folder that others may write to, instead of a warning.
    :param required: refuse a folder that cannot be made, instead of going on in memory as with a
        disk that fails.
    :raises LfmError: MISSIONS_LOCKED, STORAGE_FAILED when the folder cannot be made, KEY_INVALID
        when what is there was written with another key, or with none.
    :ivar durability_error: why what is said now would be lost, one sentence; empty: it would not.
    :ivar notice: what was found damaged and how it was mended, the last time.
    """

    def __init__(self, folder: Path | None, model: Model, cipher: StorageCipher = StorageCipher(),
                 strict: bool = False, required: bool = True) -> None:
        self.folder = folder
        self.cipher = cipher
        self.notice = ''
        self.checkpoints: Checkpoints | None = None
        self.model = model
        self._state_error = ''
        self._writer: CheckpointWriter | None = None
        self._taken: MissionsFolder | None = None
        if folder is None:
            self._durable = DurableLog(None, self._note, cipher)
            return
        self._taken = MissionsFolder(folder, cipher, strict, self._note)
        try:
            if required:
                self._taken.take()
            self._durable = DurableLog(folder / cipher.named(LOG_FILE), self._note, cipher,
                                       self._taken.take)
            self._open_checkpoints()
        except BaseException as error:
            self._taken.release()
            if isinstance(error, OSError):
                raise cannot_use(folder, error) from error
            raise

    @property
    def log(self) -> MissionLog:
        """Return the log."""
        return self._durable.log

    @property
    def durability_error(self) -> str:
        """Return why what is said now would be lost; empty: it would not."""
        return self._durable.durability_error or self._state_error

    @property
    def durable(self) -> bool:
        """Return whether committed turns outlive the process."""
        return self.folder is not None and not self._durable.durability_error

    @property
    def is_saving(self) -> bool:
        """Return whether a checkpoint is on its way."""
        return self._writer is not None and self._writer.busy

    @property
    def uptime(self) -> float:
        """
        Return how long missions have been kept here, in seconds.

        Time in which no process ran does not count, and no clock that jumps either.
        """
        return self._durable.uptime

    @property
    def memory(self) -> int:
        """Return the memory that a log takes which is not on a disk."""
        return self.log.memory

    @property
    def bytes_written(self) -> tuple[int, int]:
        """Return what was written into the log and into checkpoints."""
        return self.log.bytes_written, \
            self.checkpoints.bytes_written if self.checkpoints else 0

    def write(self, transcript: Transcript, used: float) -> None:
        """Make the log equal to a transcript, or say why it is not."""
        self._durable.write(transcript, used)

    def delete(self, mission_id: str) -> bool:
        """Delete a mission from the log; return whether that worked."""
        return self._durable.delete(mission_id)

    def read(self, mission_id: str) -> Transcript:
        """
        Return the transcript of a mission, as far as it is undamaged.

        :raises LfmError: STORAGE_FAILED when the log cannot be read.
        """
        return self._durable.read(mission_id)

    def import_archive(self, archive: ArchiveReader, mission_id: str) -> None:
        """
        Add a mission from an archive; its states only help the model that they are of.

        :raises LfmError: STORAGE_FAILED when it could not be written.
        """
        ours = archive.transcript.fingerprint == self.model.folder.fingerprint
        self._durable.import_archive(archive, mission_id, self.checkpoints if ours else None)

    def save(self, mission: Mission) -> None:
        """Have the state of a mission written as a checkpoint; it has read all of its ids."""
        if self._writer is None or mission.pending_sizes or not mission.ids or \
                self._chain(mission.digest):
            return
        assert self.checkpoints
        entries, start, parent = mission.entries, 0, ''
        for count in range(len(entries) - 1, max(mission.slid - 1, 0), -1):
            if chain := self._chain(entries[count - 1].digest):
                if len(chain) >= MAX_CHAIN_LENGTH:  # begin again, on the system prompt if need be
                    count = 0 if mission.slid else min(1, len(self._chain(entries[0].digest)))
                if count:
                    start, parent = mission.tokens_of(count), entries[count - 1].digest
                break
        if mission.state.memory.on_device:
            self._writer.flush()  # its rows are copies: one of them at a time
        self._writer.submit(Snapshot(mission.digest, parent, start, len(mission.ids),
                                     mission.state.rows(start), mission.state.copy_conv_state()))

    def flush(self) -> None:
        """Wait until all checkpoints are written."""
        if self._writer:
            self._writer.flush()

    def newest(self, digests: list[str]) -> str:
        """Return the last of these digests that a complete checkpoint has, if any."""
        return self.checkpoints.newest(digests) if self.checkpoints else ''

    def restore(self, mission: Mission) -> None:
        """Bring the state of a mission as far as a checkpoint does; the rest is to be read."""
        mission.state.reserve(len(mission.ids))
        digests = [entry.digest for entry in mission.entries[max(mission.slid - 1, 0):]]
        loaded: list[list[CheckpointSegment]] = []
        while found := self.newest(digests):
            if self._load(mission, found, loaded):
                break
        if loaded:
            mission.doubt(lambda: self._drop(mission.mission_id, loaded))
        if mission.slid and mission.state.position < mission.tokens_of(mission.slid):
            self._note(f"mission '{mission.mission_id}' has no checkpoint since its oldest turns "
                       'were dropped: the remaining turns are recomputed')
            mission.recompute()

    def collect(self, live: list[str]) -> None:
        """Delete the checkpoints that no mission needs."""
        if self.checkpoints:
            self.flush()
            self.checkpoints.collect(live)

    def retry(self) -> bool:
        """Open again what could not be used; see :meth:`DurableLog.retry`."""
        changed = self._durable.retry()
        if self.folder and self.checkpoints is None:
            self._open_checkpoints()
        return changed

    def maintain(self) -> None:
        """Do what is better done while idle; everything pending has been written."""
        self._durable.maintain()

    def close(self) -> None:
        """Write what waits and let go of the folder."""
        if self._writer:
            self._writer.close()
            self._writer = None
        self._durable.close()
        if self._taken:
            self._taken.release()

    def _open_checkpoints(self) -> None:
        assert self.folder and self._taken
        if not self._taken.taken:
            return
        try:
            self.checkpoints = Checkpoints(self.folder / STATES, self.model.folder.fingerprint,
                                           cipher=self.cipher)
        except OSError as error:
            self._saved(error)
            return
        self._writer = CheckpointWriter(self.checkpoints, self._saved)

    def _chain(self, digest: str) -> list[list[CheckpointSegment]]:
        return self.checkpoints.chain(digest) if self.checkpoints else []

    def _load(self, mission: Mission, digest: str, loaded: list[list[CheckpointSegment]]) -> bool:
        """Load a checkpoint, or as much of it as is good; false when it is damaged."""
        assert self.checkpoints
        for link in self._chain(digest):
            if link[-1].end <= mission.state.position:
                continue
            try:
                for segment in link:
                    self._append(mission, segment)
            except (Damaged, ValueError) as error:
                mission.state.restore(mission.restore_points.last)
                self.checkpoints.discard(link[0])
                self._note(f"a checkpoint of mission '{mission.mission_id}' cannot be used "
                           f'({error}): the mission is recomputed from the one before')
                return False
            mission.state_restored()
            loaded.append(link)
        return True

    def _drop(self, mission_id: str, links: list[list[CheckpointSegment]]) -> None:
        """Delete checkpoints with which the model gives no numbers."""
        assert self.checkpoints
        self.flush()
        for link in links:
            self.checkpoints.discard(link[0])
        self._note(f"the stored state of mission '{mission_id}' cannot be used (it produces NaN "
                   'or infinite logits): the mission is recomputed from its log')

    def _append(self, mission: Mission, segment: CheckpointSegment) -> None:
        """Add the rows of a segment that the state lacks."""
        assert self.checkpoints
        known = mission.state.position - segment.start
        if segment.end > mission.state.position:
            arrays = self.checkpoints.read(segment)
            for tensor in mission.model.signature.key_value if known > 0 else ():
                arrays[tensor.name] = arrays[tensor.name][:, :, known:]
            mission.state.append(arrays, segment.end)

    def _saved(self, error: OSError | None) -> None:
        """Take the end of the writing of a checkpoint into account; in any thread."""
        if error is None:
            if self._state_error:
                _log.warning('checkpoints are written again')
            self._state_error = ''
        elif not self._state_error:
            self._state_error = (f'checkpoints cannot be written ({error.strerror}): missions '
                                 'would be recomputed after a restart; free space in '
                                 'missions.dir')
            _log.warning(self._state_error)

    def _note(self, text: str) -> None:
        self.notice = text
        _log.warning(text)
