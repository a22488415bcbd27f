# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The log in a folder whose disk may fail."""
from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import logging
from pathlib import Path
import sqlite3
import time

from lfm_ros.conversation.transcript import Transcript
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.archive_reader import ArchiveReader
from lfm_ros.storage.archive_reader import import_mission
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.database import NewerVersion
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.log_recovery import aside_of
from lfm_ros.storage.log_recovery import open_log
from lfm_ros.storage.log_recovery import recover
from lfm_ros.storage.log_schema import IN_MEMORY

CLOCK_PERIOD = 600.0  # seconds after which it is written how long missions were kept

_log = logging.getLogger(__name__)


class DurableLog:
    """
    The log on a disk, or one in memory while that one cannot be opened.

    :param file: None: the log is in memory and ends with the process.
    :param note: called with what was found damaged and how it was mended.
    :param cipher: seals what is written.
    :param take: called before the file is opened; makes its folder ours, or raises OSError.
    :ivar durability_error: why what is said now would be lost, one sentence; empty: it would not.
    :raises LfmError: STORAGE_FAILED when a newer version of lfm_ros wrote it.
    """

    def __init__(self, file: Path | None, note: Callable[[str], None],
                 cipher: StorageCipher = StorageCipher(),
                 take: Callable[[], None] = lambda: None) -> None:
        self.log = MissionLog(IN_MEMORY, cipher=cipher)
        self.durability_error = ''
        self._file = file
        self._note = note
        self._take = take
        self._in_memory_fallback = False  # the log on disk could not be opened
        self._copied: dict[str, str] = {}  # digests of missions that came from there
        self._deleted: set[str] = set()    # missions that are still there
        self._kept: set[str] = set()    # damaged missions of which there is a copy
        self._damaged = False           # since it was opened
        self._opened = time.monotonic()
        if file:
            try:
                take()
                self.log, notice = open_log(file, cipher)
                if notice:
                    note(notice)
            except NewerVersion as error:
                raise LfmError(ErrorCode.STORAGE_FAILED, f'{file} cannot be used ({error}): '
                               'update lfm_ros, or choose another folder with missions.dir'
                               ) from error
            except (sqlite3.Error, OSError) as error:
                self._in_memory_fallback = True
                self._failed(error)
                if lost := recover(file, self.log):
                    note(f'{file} cannot be written and is damaged: its missions were '
                         f'recovered{lost}')
                self._copied = {summary.mission_id: summary.digest for summary in self.log.list()}
        self._before = self._time_kept = self.log.uptime

    @property
    def uptime(self) -> float:
        """
        Return how long missions have been kept here, in seconds.

        Time in which no process ran does not count, and no clock that jumps either.
        """
        return self._before + time.monotonic() - self._opened

    def write(self, transcript: Transcript, used: float) -> None:
        """Make the log equal to a transcript, or say why it is not."""
        try:
            self.log.write(transcript, used)
            self._worked()
        except sqlite3.Error as error:
            self._failed(error)

    def delete(self, mission_id: str) -> bool:
        """Delete a mission; return whether that worked."""
        try:
            self.log.delete(mission_id)
            self._worked()
        except sqlite3.Error as error:
            self._failed(error)
            return False
        if self._in_memory_fallback:
            self._deleted.add(mission_id)
        return True

    def read(self, mission_id: str) -> Transcript:
        """
        Return the transcript of a mission, as far as it is undamaged.

        :raises LfmError: STORAGE_FAILED when the log cannot be read.
        """
        try:
            (found, wrong), known = self.log.examine(mission_id), self.log.find(mission_id)
        except sqlite3.Error as error:
            raise LfmError(ErrorCode.STORAGE_FAILED, f"mission '{mission_id}' cannot be read "
                           f'({error}): check the disk of {self._file}') from error
        if known and (wrong or not (found.entries and found.digest == known.digest)):
            kept = self._keep_aside(mission_id) if wrong else ''
            self._note(f"the log of mission '{mission_id}' is damaged{wrong and f' ({wrong})'}: "
                       f'{found.turn_count} turns were recovered, '
                       f'{known.turns - found.turn_count} after them are lost{kept}')
        return found

    def import_archive(self, archive: ArchiveReader, mission_id: str,
                       checkpoints: Checkpoints | None) -> None:
        """
        Add a mission from an archive.

        :raises LfmError: STORAGE_FAILED when it could not be written.
        """
        try:
            notice = import_mission(archive, mission_id, self.log, checkpoints, self.uptime)
            self._worked()
        except sqlite3.Error as error:
            self._failed(error)
            raise LfmError(ErrorCode.STORAGE_FAILED, self.durability_error) from error
        if notice:
            self._note(notice)

    def retry(self) -> bool:
        """
        Open again what could not be used.

        :returns: whether there is another log now: it may know missions that the last one did
            not, and may lack what that one had.
        """
        try:
            if self._in_memory_fallback:
                self._reattach()
                return True
            if self.durability_error and self._file:
                return self._reopen(self._file)
        except LfmError as error:  # another process has taken the folder, say
            self.durability_error = error.message
        except (sqlite3.Error, OSError):
            pass
        return False

    def maintain(self) -> None:
        """Do what is better done while idle; everything pending has been written."""
        try:
            self.log.maintain()
            if self.durability_error or self.uptime - self._time_kept > CLOCK_PERIOD:
                self._keep_time()
            self._worked()
        except sqlite3.Error as error:
            self._failed(error)

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._keep_time()
        with suppress(sqlite3.Error):
            self.log.close()

    def _keep_aside(self, mission_id: str) -> str:
        """
        Keep the log as it is, since the next turn of a mission replaces what cannot be proved.

        :returns: where it is, for the end of a sentence.
        """
        if not self._file or self._in_memory_fallback or mission_id in self._kept:
            return ''
        damaged = aside_of(self._file)
        try:
            self.log.copy_to(damaged)
        except (sqlite3.Error, OSError) as error:
            return f', and no copy of the log could be kept ({error})'
        self._kept.add(mission_id)
        return f', a copy of the log is kept as {damaged.name}'

    def _reopen(self, file: Path) -> bool:
        """Open the log again where it can only be read, say; return whether that was done."""
        if not self._damaged:
            with suppress(sqlite3.Error):
                self._keep_time()
                return False
            opened = MissionLog(file, cipher=self.log.cipher)
            opened.bytes_written = self.log.bytes_written
            self.log.close()
        else:
            self.log.close()
            opened, notice = open_log(file, self.log.cipher)
            self._note(notice or f'{file} was opened again')
        self.log, self._damaged = opened, False
        return True

    def _reattach(self) -> None:
        """Open the log that was not to be opened before, and bring it up to date."""
        assert self._file
        self._take()
        opened, notice = open_log(self._file, self.log.cipher)
        try:
            for mission_id in self._deleted:
                opened.delete(mission_id)
            for summary in self.log.list():
                mission_id = summary.mission_id
                # What came from there and is as it was may be there with more than could be read.
                if summary.digest != self._copied.get(mission_id) or \
                        summary.digest not in opened.digests(mission_id):
                    transcript = self.log.read(mission_id)
                    transcript.logged = 0
                    opened.write(transcript, summary.used)
        except BaseException:
            opened.close()
            raise
        self.log, self._in_memory_fallback = opened, False
        self._deleted.clear()
        self._worked()
        if notice:
            self._note(notice)

    def _keep_time(self) -> None:
        self.log.keep_time(self.uptime)
        self._time_kept = self.uptime

    def _worked(self) -> None:
        if not self._in_memory_fallback:
            if self.durability_error:
                _log.warning('missions are durable again')
            self.durability_error = ''

    def _failed(self, error: Exception) -> None:
        self._damaged |= isinstance(error, sqlite3.DatabaseError) and \
            not isinstance(error, sqlite3.OperationalError)
        if not self.durability_error:
            self.durability_error = (f'missions are not durable ({error}): new turns would be '
                                     f'lost at a restart; check the disk of {self._file}, or set '
                                     'missions.dir to a folder that can be written')
            _log.warning(self.durability_error)
