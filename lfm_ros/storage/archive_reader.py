# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Import a mission from a file that the archive writer wrote."""
from __future__ import annotations

from collections.abc import Container
import json
import os
from pathlib import Path
import re
import struct
from typing import Any
from typing import BinaryIO
from zipfile import BadZipFile
from zipfile import ZIP_STORED
from zipfile import ZipFile

from lfm_ros.conversation.entry import Entry
from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.entry import OBSERVATION
from lfm_ros.conversation.entry import TURNS
from lfm_ros.conversation.mission_id import check_mission_id
from lfm_ros.conversation.mission_id import check_new_mission_id
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.chunks import BATCHED
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.files import open_file
from lfm_ros.storage.archive_writer import ArchiveWriter
from lfm_ros.storage.archive_writer import FORMAT
from lfm_ros.storage.archive_writer import IMAGES
from lfm_ros.storage.archive_writer import PNG
from lfm_ros.storage.archive_writer import STATES
from lfm_ros.storage.archive_writer import TEXT
from lfm_ros.storage.archive_writer import THUMBNAIL
from lfm_ros.storage.archive_writer import VERSION
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.checkpoints import is_segment
from lfm_ros.storage.checkpoints import MAX_SEGMENT_BYTES
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.log import MissionLog

_MAX_TEXT_BYTES = 16 << 20    # a context of 128 thousand tokens takes two or three
_HEX = re.compile('[0-9a-f]{0,64}')
_MAX_IMAGE_BYTES = 16 << 20
_MAX_IMAGES_BYTES = 1 << 30   # all of them; they are in memory at once
_MAX_LIST_BYTES = 2 << 20     # bytes of the list of members: some 10,000
# The end of a ZIP: signature, disks, members, size and place of their list, size of a comment;
# before it, in a large one, the same in 64 bits, and where that is.
_END = struct.Struct('<4s4H2LH')
_END64 = struct.Struct('<4sQ2H2L4Q')
_LOCATOR = 20
_TEXTS = ('prompt', 'text', 'finish_reason', 'sampling')
_IMAGE = re.compile(rf'{IMAGES}[0-9A-Za-z_-]{{64,128}}(?:{re.escape(THUMBNAIL)})?{re.escape(PNG)}')


class ArchiveReader:
    """
    An archive of a mission, opened and checked; one without a key can be read with any.

    :param cipher: opens it.
    :param follow: whether it may be a link, as a file that a user names.
    :ivar transcript: what was said in the mission.
    :ivar model: name of the model to which it was said; may be empty.
    :raises LfmError: ARCHIVE_INVALID, or KEY_INVALID when it was written with another key.
    """

    def __init__(self, file: Path, cipher: StorageCipher = StorageCipher(),
                 follow: bool = False) -> None:
        self.file = file
        try:
            self._file = open(open_file(file, follow=follow), 'rb')
        except (OSError, ValueError) as error:
            raise _not_readable(file, getattr(error, 'strerror', '') or str(error)) from error
        try:
            _check_end(self._file)
            self._zip = ZipFile(self._file)
        except (OSError, ValueError) as error:
            self._file.close()
            raise _not_readable(file, getattr(error, 'strerror', '') or str(error)) from error
        except Exception as error:  # a damaged ZIP can raise nearly anything
            self._file.close()
            raise _not_readable(file, 'it is not a mission archive, or is incomplete') from error
        names = self._zip.namelist()
        self._cipher = StorageCipher() if TEXT in names else cipher
        self._text = self._cipher.named(TEXT)
        try:
            self._cipher.check(names, TEXT, file)
            self._check_members()
            told = json.loads(self._read(self._text))
            if told['format'] != FORMAT:
                raise ValueError('it is of another format')
            if told['version'] not in range(1, VERSION + 1):
                raise ValueError(f'it was written by another version ({told["version"]!r:.20})')
            self.model = str(told['model'])
            self.transcript = _transcript(told, self._prepared_images(told.get('images', {})))
        except Exception as error:
            self._file.close()
            if getattr(error, 'code', 0) == ErrorCode.KEY_INVALID:
                raise
            reason = getattr(error, 'message', '') or str(error)[:200]
            if isinstance(error, (KeyError, TypeError, AttributeError)):
                reason = f'{TEXT} lacks something'
            raise _not_readable(file, reason) from error

    def __enter__(self) -> ArchiveReader:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def name_here(self, mission_id: str, known: Container[str]) -> str:
        """
        Return the name that the mission will have.

        :param mission_id: the one that is wanted; empty: the one it had.
        :raises LfmError: INVALID_MISSION_ID, MISSION_EXISTS.
        """
        name = mission_id or self.transcript.mission_id
        check_new_mission_id(name, known)
        return name

    def check_ids(self, vocabulary: int) -> None:
        """
        Refuse ids that the model does not have.

        :raises LfmError: ARCHIVE_INVALID.
        """
        if max(self.transcript.ids) >= vocabulary:
            raise _not_readable(self.file, 'it has tokens that are not in the vocabulary of the '
                                'model')

    def import_states(self, checkpoints: Checkpoints) -> str:
        """
        Copy the states that are not there yet.

        :returns: why not all could be copied, empty: they were. The mission is whole without.
        """
        names = [n.removeprefix(STATES) for n in self._zip.namelist() if n.startswith(STATES)]
        if names and checkpoints.encrypted and not self._cipher.key_id:
            return f'{self.file} is not encrypted: the mission is encrypted here, and its state ' \
                'is recomputed from what was said when it is next used'
        try:
            checkpoints.import_segments(names, lambda name: self._zip.read(STATES + name))
        except (Damaged, OSError, BadZipFile, EOFError, RuntimeError, ValueError) as error:
            return f'a state in {self.file} cannot be used ({error}): the mission is recomputed'
        return ''

    def _read(self, name: str) -> bytes:
        return self._cipher.open(self._zip.read(name), name, bytes)

    def _prepared_images(self, told: dict[str, Any]) -> dict[str, PreparedImage]:
        """Return the images in the archive by digest, or raise nearly anything."""
        found, names = {}, set(self._zip.namelist())
        for digest, fields in told.items():
            sizes = [fields[name] for name in ('tokens', 'rows', 'columns')]
            name = f'{IMAGES}{self._cipher.encrypt_name(digest)}'
            parts = [self._read(part) if part in names else b'' for part in
                     (f'{name}{PNG}', f'{name}{THUMBNAIL}{PNG}')]
            tokens, rows, columns = _numbers(sizes, 1)
            prepared = PreparedImage(tokens, rows, columns, *parts)
            if prepared.digest != digest:
                raise ValueError('an image does not match its digest')
            prepared.crops()  # refuses what is no image
            found[digest] = prepared
        return found

    def _check_members(self) -> None:
        """Refuse what no export wrote; nothing is ever unpacked under a name from outside."""
        infos = self._zip.infolist()
        names = [info.filename for info in infos]
        if self._text not in names:
            raise ValueError('it is not a mission archive')
        for info in infos:
            image = bool(_IMAGE.fullmatch(info.filename))
            if info.filename != self._text and not image and not (
                    info.filename.startswith(STATES) and
                    is_segment(info.filename.removeprefix(STATES))):
                raise ValueError(f'it contains {info.filename[:60]!r}, which does not belong to a '
                                 'mission')
            largest = _MAX_TEXT_BYTES if info.filename == self._text else \
                _MAX_IMAGE_BYTES if image else MAX_SEGMENT_BYTES
            if info.compress_type != ZIP_STORED or info.file_size != info.compress_size or \
                    info.file_size > largest:
                raise ValueError(f'the size of {info.filename} is invalid')
        if len(set(names)) != len(names) or \
                sum(info.file_size for info in infos) > self.file.stat().st_size:
            raise ValueError('it contains a file twice')
        if sum(info.file_size for info in infos if info.filename.startswith(IMAGES)) > \
                _MAX_IMAGES_BYTES:
            raise ValueError('it has more images than a mission can have')


def export_mission(log: MissionLog, checkpoints: Checkpoints | None, mission_id: str, file: Path,
                   model: str = '') -> int:
    """
    Write an archive of a mission that is in a log; it is encrypted if the log is.

    :param checkpoints: of its model; None: only what was said is kept.
    :returns: its size in bytes.
    :raises LfmError: STORAGE_FAILED.
    :raises sqlite3.Error: when the log cannot be read.
    """
    return ArchiveWriter.of(log.read(mission_id), checkpoints, model, log.cipher).write(file)


def import_mission(archive: ArchiveReader, mission_id: str, log: MissionLog,
                   checkpoints: Checkpoints | None, used: float) -> str:
    """
    Write a mission into a log, where it must not be yet.

    :param checkpoints: of the model of the archive; None: only what was said is kept.
    :param used: uptime of the store now.
    :returns: what is wrong with its states, empty: nothing.
    :raises sqlite3.Error: when the log cannot be written.
    """
    # States first: those that no mission stands on are deleted some day, but not the reverse.
    notice = archive.import_states(checkpoints) if checkpoints else ''
    archive.transcript.mission_id = mission_id
    log.write(archive.transcript, used)
    return notice


def _check_end(stream: BinaryIO) -> None:
    """
    Refuse a ZIP that has more members than a mission can have, or no end.

    ZipFile makes an object of every member that a file claims before anybody can count them.
    """
    size = os.fstat(stream.fileno()).st_size
    stream.seek(max(0, size - _END64.size - _LOCATOR - _END.size))
    tail = stream.read()
    end, before = _END.unpack(tail[-_END.size:]), tail[:-_END.size]
    if end[0] != b'PK\5\6' or end[-1]:
        raise BadZipFile
    listed = end[5]
    if before[-_LOCATOR:].startswith(b'PK\6\7') and before.startswith(b'PK\6\6'):
        listed = _END64.unpack(before[:_END64.size])[8]
    if listed > _MAX_LIST_BYTES:
        raise ValueError('it has more members than a mission can have')


def _transcript(told: dict[str, Any], prepared_images: dict[str, PreparedImage]) -> Transcript:
    """Return the transcript in an archive, or raise nearly anything."""
    check_mission_id(told['mission_id'])
    found = Transcript(told['mission_id'], _hex(told['fingerprint']), slid=told['slid'])
    for fields in told['entries']:
        ids, chunk_sizes, time = _numbers(fields['ids'], 0), \
            _numbers(fields['calls'], BATCHED), fields['time']
        texts = {name: fields[name] for name in _TEXTS}
        ''.join(texts.values()).encode()  # refuses what is no text
        if fields['kind'] not in (HEAD, OBSERVATION, *TURNS) or not ids:
            raise ValueError(f'{TEXT} contains an invalid entry')
        if type(time) not in (int, float) or not 0 <= time < 1e11:
            raise ValueError(f'{TEXT} contains an invalid time')
        found.push(ids, chunk_sizes)
        found.entries.append(Entry(fields['kind'], len(ids), len(chunk_sizes), **texts, time=time,
                                   parent=_hex(fields['parent']), digest=_hex(fields['digest']),
                                   images=tuple(prepared_images[digest] for digest in
                                                fields.get('images', ()))))
    if type(found.slid) is not int or not 0 <= found.slid <= len(found.entries):
        raise ValueError(f'{TEXT} is damaged')
    if not found.entries or found.verified() < len(found.entries):
        raise ValueError('its turns do not match their digest')
    return found


def _numbers(values: list[int], least: int) -> list[int]:
    if not isinstance(values, list) or \
            not all(type(n) is int and least <= n < 1 << 31 for n in values):
        raise ValueError(f'{TEXT} contains an invalid number')
    return values


def _hex(text: str) -> str:
    if not _HEX.fullmatch(text):
        raise ValueError(f'{TEXT} is damaged')
    return text


def _not_readable(file: Path, reason: str) -> LfmError:
    return LfmError(ErrorCode.ARCHIVE_INVALID, f'{file} cannot be imported ({reason}): give a '
                    'file that an export wrote, whole')
