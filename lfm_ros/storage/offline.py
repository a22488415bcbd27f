# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The missions in a folder, without the model that answers in them."""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path

from lfm_ros.conversation.mission_id import check_mission_id
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.storage.archive_reader import ArchiveReader
from lfm_ros.storage.archive_reader import export_mission
from lfm_ros.storage.archive_reader import import_mission
from lfm_ros.storage.atomic_files import FolderLock
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.layout import LOG_FILE
from lfm_ros.storage.layout import STATES
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.log import Summary
from lfm_ros.storage.missions_folder import cannot_use
from lfm_ros.storage.permissions import check_permissions

READ, CHANGE, MAKE = range(3)  # MAKE: and the folder is made if need be


@dataclass(frozen=True)
class StoredMission:
    """
    One mission on disk.

    :param bytes: of what was said, and of its newest checkpoint.
    :param idle_seconds: since it was last used; only time in which missions were kept counts.
    """

    mission_id: str
    turns: int
    tokens: int
    bytes: int
    idle_seconds: float


class OfflineMissions:
    """
    Lists, shows, exports and imports missions; a context manager.

    :param purpose: READ goes beside a node that uses the folder; the others lock it.
    :param cipher: opens what is there.
    :raises LfmError: INVALID_VALUE when there are no missions, MISSIONS_LOCKED, STORAGE_FAILED,
        KEY_INVALID when what is there was written with another key, or with none.
    :raises sqlite3.Error: when the log cannot be used; also every method may.
    """

    def __init__(self, folder: Path, purpose: int = READ,
                 cipher: StorageCipher = StorageCipher()) -> None:
        self.folder = folder
        self._cipher = cipher
        self._read_only = purpose == READ
        log = folder / cipher.named(LOG_FILE)
        with ExitStack() as stack:
            try:
                self._check(purpose, log)
                if not self._read_only:
                    stack.callback(FolderLock(folder).release)
            except OSError as error:
                raise cannot_use(folder, error) from error
            self._log = MissionLog(log, self._read_only, cipher)
            stack.callback(self._log.close)
            self._stack = stack.pop_all()

    def _check(self, purpose: int, log: Path) -> None:
        folder = self.folder
        if purpose == MAKE:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_dir():
            self._cipher.check(os.listdir(folder), LOG_FILE, folder)
        if purpose != MAKE and not log.is_file():
            raise LfmError(ErrorCode.INVALID_VALUE, f'there are no missions in {folder}: give '
                           'the folder that is missions.dir of the node')
        check_permissions(folder)

    def __enter__(self) -> OfflineMissions:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the folder."""
        self._stack.close()

    def list(self) -> list[StoredMission]:
        """Describe all missions, in the order in which they began."""
        uptime, states = self._log.uptime, {}
        found = []
        for summary in self._log.list():
            if summary.fingerprint not in states:
                states[summary.fingerprint] = self._states(summary.fingerprint)
            found.append(self._describe(summary, states[summary.fingerprint], uptime))
        return found

    def show(self, mission_id: str) -> tuple[StoredMission, Transcript, str]:
        """
        Describe a mission and return what was said in it, as far as it is undamaged.

        :returns: also what is wrong with it, as far as that is known; empty: nothing.
        :raises LfmError: UNKNOWN_MISSION.
        """
        summary = self._find(mission_id)
        return (self._describe(summary, self._states(summary.fingerprint), self._log.uptime),
                *self._log.examine(mission_id))

    def export(self, mission_id: str, file: Path) -> int:
        """
        Write a mission into a file.

        With a key it is encrypted: only those can import it who have the key.

        :returns: its size in bytes.
        :raises LfmError: UNKNOWN_MISSION, STORAGE_FAILED.
        """
        summary = self._find(mission_id)
        if wrong := self._log.examine(mission_id)[1]:
            raise LfmError(ErrorCode.STORAGE_FAILED, f"mission '{mission_id}' is damaged "
                           f'({wrong}) and cannot be exported as if it were whole: a node that '
                           'starts there says what came back')
        return export_mission(self._log, self._states(summary.fingerprint), mission_id, file)

    def import_(self, file: Path, mission_id: str = '') -> tuple[str, str]:
        """
        Bring a mission in.

        :param mission_id: its name here; empty: the one it had.
        :returns: its name here, and what is wrong with its states; empty: nothing.
        :raises LfmError: ARCHIVE_INVALID, INVALID_MISSION_ID, MISSION_EXISTS, KEY_INVALID.
        """
        with ArchiveReader(file, self._cipher, follow=True) as archive:
            name = archive.name_here(mission_id, [s.mission_id for s in self._log.list()])
            fingerprint = archive.transcript.fingerprint
            try:
                return name, import_mission(archive, name, self._log,
                                            self._states(fingerprint), self._log.uptime)
            except BaseException:
                self._drop(fingerprint, [e.digest for e in archive.transcript.entries])
                raise

    def delete(self, mission_id: str) -> None:
        """
        Delete a mission.

        :raises LfmError: UNKNOWN_MISSION.
        """
        summary = self._find(mission_id)
        digests = self._log.digests(mission_id)
        self._log.delete(mission_id)
        self._drop(summary.fingerprint, digests)

    def _find(self, mission_id: str) -> Summary:
        check_mission_id(mission_id)
        known = {summary.mission_id: summary for summary in self._log.list()}
        if mission_id not in known:
            raise LfmError(ErrorCode.UNKNOWN_MISSION, f"there is no mission '{mission_id}': the "
                           f'missions are {few(known) or "none yet"}')
        return known[mission_id]

    def _describe(self, summary: Summary, states: Checkpoints | None, uptime: float
                  ) -> StoredMission:
        size = self._log.nbytes(summary.mission_id)
        if states:
            size += states.size_of(states.newest(self._log.digests(summary.mission_id)))
        return StoredMission(summary.mission_id, summary.turns, summary.tokens, size,
                             max(0.0, uptime - summary.used))

    def _states(self, fingerprint: str) -> Checkpoints | None:
        """Return the checkpoints of a model, or None where there can be none."""
        with suppress(OSError):
            return Checkpoints(self.folder / STATES, fingerprint, self._read_only, self._cipher)
        return None

    def _drop(self, fingerprint: str, digests: Sequence[str]) -> None:
        """Delete the checkpoints of these digests that no mission stands on."""
        states = self._states(fingerprint)
        if states is None:
            return
        kept = {link[0].path for summary in self._log.list() if summary.fingerprint == fingerprint
                for link in states.chain(states.newest(self._log.digests(summary.mission_id)))}
        chains = [states.chain(digest) for digest in digests]
        for chain in filter(None, chains):
            if chain[-1][0].path not in kept:
                states.discard(chain[-1][0])
