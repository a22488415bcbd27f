# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Write a mission into one file, to keep it, or to carry it to another robot.

It is a ZIP in which nothing is compressed, so it is never larger unpacked than it is:
`mission.json` holds all that was said, with its ids, and `states/` the segments of its newest
checkpoint. The first is enough to bring the mission back; with the second it costs no reading.
`images/` holds what the mission was shown, as the model saw it, in PNG.

With a key all members are sealed, each under its name, and the first is called after the key.
"""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
import errno
import json
import os
from pathlib import Path
import shutil
from typing import BinaryIO
from zipfile import BadZipFile
from zipfile import ZipFile
from zipfile import ZipInfo

from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.files import open_file
from lfm_ros.storage.atomic_files import growing_file
from lfm_ros.storage.atomic_files import put_on_disk
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.encryption import BLOCK
from lfm_ros.storage.encryption import StorageCipher

FORMAT = 'lfm_ros mission'
VERSION = 2  # 1 had no images
TEXT = 'mission.json'
STATES = 'states/'
IMAGES = 'images/'
THUMBNAIL = '.thumbnail'
PNG = '.png'


@dataclass(frozen=True)
class ArchiveWriter:
    """
    What goes into an archive, as it was when this was made; segments may go, it is whole without.

    :param text: all that was said; ``segments`` of the newest checkpoint, in order of reading.
    :param prepared_images: that were shown, by digest.
    :param cipher: seals the archive; the segments are sealed already.
    """

    text: bytes
    segments: Sequence[Path]
    prepared_images: Mapping[str, PreparedImage]
    cipher: StorageCipher = StorageCipher()

    @classmethod
    def of(cls, transcript: Transcript, checkpoints: Checkpoints | None, model: str = '',
           cipher: StorageCipher = StorageCipher()) -> ArchiveWriter:
        """
        Gather what there is of a mission.

        :param checkpoints: of its model; None: there is no state of it.
        :param model: name of its model, for people.
        :param cipher: of the checkpoints; seals the archive.
        :raises LfmError: STORAGE_FAILED when nothing of it can be read.
        """
        if not transcript.entries:
            raise LfmError(ErrorCode.STORAGE_FAILED, f"mission '{transcript.mission_id}' cannot "
                           'be read from the log: check the disk')
        entries, prepared_images = [], {}
        for entry, ids, chunk_sizes in transcript.parts():
            fields = {**vars(entry), 'ids': ids, 'calls': chunk_sizes,
                      'images': [prepared.digest for prepared in entry.images]}
            del fields['tokens'], fields['chunk_count']
            entries.append(fields)
            prepared_images.update({prepared.digest: prepared for prepared in entry.images})
        told = {'format': FORMAT, 'version': VERSION if prepared_images else 1,
                'mission_id': transcript.mission_id,
                'model': model, 'fingerprint': transcript.fingerprint, 'slid': transcript.slid,
                'entries': entries, 'images': {
                    digest: {'tokens': p.tokens, 'rows': p.rows, 'columns': p.columns}
                    for digest, p in prepared_images.items()}}
        newest = checkpoints.newest([e.digest for e in transcript.entries]) if checkpoints else ''
        chain = checkpoints.chain(newest) if checkpoints else []
        return cls(json.dumps(told, ensure_ascii=False).encode(),
                   [segment.path for link in chain for segment in link], prepared_images, cipher)

    def write(self, file: Path) -> int:
        """
        Write the archive; after a crash at any instant it is whole or as it was before.

        :returns: its size in bytes.
        :raises LfmError: STORAGE_FAILED; then there is nothing left of it.
        """
        try:
            with growing_file(file) as stream:
                self._fill(stream)
                size = stream.tell()
                stream.flush()
                put_on_disk(stream.fileno())
                with open(os.dup(stream.fileno()), 'rb') as written, ZipFile(written) as packed:
                    if packed.testzip():
                        raise BadZipFile
        except (BadZipFile, EOFError):
            raise _not_written(file, os.strerror(errno.EIO)) from None
        except (OSError, ValueError) as error:  # a name that cannot be one is a ValueError
            raise _not_written(file, getattr(error, 'strerror', '') or str(error)) from error
        return size

    def _fill(self, stream: BinaryIO) -> None:
        # Names only, no dates: a robot without a clock lives before 1980, where ZIP has none.
        # Spaces behind JSON say nothing, and with a key nothing tells its exact length then.
        spaces = b' ' * (-len(self.text) % BLOCK) if self.cipher.key_id else b''
        members = {self.cipher.named(TEXT): self.text + spaces}
        for digest, prepared in self.prepared_images.items():
            name = f'{IMAGES}{self.cipher.encrypt_name(digest)}'
            members[f'{name}{PNG}'] = prepared.main
            if prepared.thumbnail:
                members[f'{name}{THUMBNAIL}{PNG}'] = prepared.thumbnail
        with ZipFile(stream, 'w') as packed:
            for name, data in members.items():
                packed.writestr(ZipInfo(name), self.cipher.seal(data, name))
            for segment in self.segments:
                with suppress(FileNotFoundError), open(open_file(segment), 'rb') as source, \
                        packed.open(ZipInfo(STATES + segment.name), 'w') as target:
                    shutil.copyfileobj(source, target, 1 << 20)


def _not_written(file: Path, reason: str) -> LfmError:
    return LfmError(ErrorCode.STORAGE_FAILED, f'{file} cannot be written ({reason}): give a file '
                    'in an existing folder, with free space on its disk')
