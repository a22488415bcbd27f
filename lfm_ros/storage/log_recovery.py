# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recover what is still good in a damaged log."""
from __future__ import annotations

from contextlib import suppress
import errno
import itertools
import os
from pathlib import Path
import sqlite3
import time
from typing import Any

from lfm_ros.conversation.mission_id import check_mission_id
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.errors import LfmError
from lfm_ros.storage.atomic_files import sync_folder
from lfm_ros.storage.chain import place_of
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.ledger import Head
from lfm_ros.storage.ledger import Ledger
from lfm_ros.storage.log import MissionLog
from lfm_ros.storage.log_remains import DIGEST
from lfm_ros.storage.log_remains import PARENT
from lfm_ros.storage.log_remains import Remains
from lfm_ros.storage.log_schema import take

_MAX_STRAYS = 256  # where the rest of a mission is looked for


def open_log(file: Path, cipher: StorageCipher) -> tuple[MissionLog, str]:
    """
    Open a log; a damaged one is renamed, and what is still good of it is copied.

    It may be interrupted anywhere: what was said is whole in one of the files at any time.

    :returns: also what was found, one sentence; empty: nothing.
    :raises sqlite3.Error: when it cannot be written, or a newer version of lfm_ros wrote it.
    :raises OSError: when it cannot be written.
    """
    notice, lost, mended = '', '', file.with_name(f'{file.name}.mended')
    if not mended.exists():
        try:
            return MissionLog(file, cipher=cipher), ''
        except sqlite3.OperationalError:  # the disk is full, read-only, ...
            raise
        except sqlite3.DatabaseError as error:
            notice = f'{file} was damaged ({error})'
            lost = _rebuild(file, mended, cipher)
    damaged = aside_of(file)
    for ending in ('-shm', '-wal', ''):
        with suppress(FileNotFoundError):
            os.rename(f'{file}{ending}', f'{damaged}{ending}')
    os.rename(mended, file)
    sync_folder(file.parent)
    log = MissionLog(file, cipher=cipher)
    found = log.list()
    return log, (f'{notice or f"{file} was damaged"}: {len(found)} missions with '
                 f'{sum(summary.turns for summary in found)} turns were recovered{lost}, the '
                 f'damaged file is kept as {damaged.name}')


def aside_of(file: Path) -> Path:
    """Return a name for a damaged log that is not used yet."""
    name = f'{file.name}.damaged-{time.strftime("%Y%m%d-%H%M%S")}'
    names = (file.with_name(f'{name}{"" if not n else f"-{n}"}') for n in itertools.count())
    return next(damaged for damaged in names if not os.path.lexists(damaged))


def _rebuild(file: Path, mended: Path, cipher: StorageCipher) -> str:
    """Make a log of what is still good of a damaged one; return what :func:`recover` does."""
    part = mended.with_name(f'{mended.name}.part')
    for ending in ('', '-wal', '-shm'):
        Path(f'{part}{ending}').unlink(missing_ok=True)
    log = MissionLog(part, cipher=cipher)
    try:
        lost = recover(file, log)
    finally:
        log.close()  # all of it is in the file itself then
    if Path(f'{part}-wal').exists():
        raise OSError(errno.EIO, f'{part} could not be completed')
    os.rename(part, mended)
    sync_folder(file.parent)
    return lost


def recover(damaged: Path, log: MissionLog) -> str:
    """
    Copy what can still be read of a file into another log with the same key, entry by entry.

    With a key only that comes which is proved to be the newest, or all that is whole where there
    is no proof any more.

    :returns: what did not come, or is not sure, for the end of a sentence; empty: nothing.
    :raises sqlite3.Error: when the other log cannot be written.
    """
    remains = Remains(damaged, log.cipher)
    ledger = remains.ledger()
    if ledger:
        return _copy_proven(remains, ledger, log)
    _copy_likely(remains, log)
    chained = remains.cipher.key_id and remains.cipher is log.cipher.rows
    return ', and nothing proves that they are the newest' if chained else ''


def _copy_proven(remains: Remains, ledger: Ledger, log: MissionLog) -> str:
    """Copy the entries that are on the list, and say of which missions not all came."""
    log.keep_time(max([ledger.clock, *(head.used for head in ledger.heads.values())]))
    lost = []
    for head in sorted(ledger.heads.values(), key=lambda head: head.place):
        cipher, rows = remains.cipher, remains.entries.get(head.name, {})
        try:
            found = Transcript(_name_of(cipher, head.name), head.fingerprint, slid=head.slid)
        except Damaged:
            lost.append('nothing of a mission with an invalid name')
            continue
        for number, digest in enumerate(_proved(remains, ledger, head)):
            good = [row for row in rows.get(number, ())
                    if ledger.digest((head.name, *row[:-1])) == digest]
            if not _take_one(cipher, found, good):
                break
        if found.entries:
            log.write(found, head.used)
        if len(found.entries) < head.count:
            lost.append(f'only {found.turn_count} of {head.turns} turns of mission '
                        f"'{found.mission_id}'")
        elif any(number >= head.count for number in rows):
            lost.append(f"without entries that were added to mission '{found.mission_id}'")
    more = f' and {len(lost) - 3} more' if len(lost) > 3 else ''
    return f', {", ".join(lost[:3])}{more}' if lost else ''


def _proved(remains: Remains, ledger: Ledger, head: Head) -> list[bytes]:
    """Return the digests of the rows of a mission; empty: there is no proof of them."""
    places = range(place_of(head.place), place_of(head.place, head.count))
    rows = remains.entries.get(head.name, {})
    written = [remains.proofs.get(place, []) for place in places]
    found = [[ledger.digest((head.name, *row[:-1])) for row in rows.get(number, ())]
             for number in range(head.count)]
    # Of several versions the one that both have, else the newest, else the oldest.
    both = [[each for each in one if each in other]
            for one, other in zip(written, map(set, found))]
    for newest in (-1, 0):
        for first, second in ((written, found), (found, written)):
            tried = [next((each[newest] for each in choice if each), b'')
                     for choice in zip(both, first, second)]
            if ledger.link(head.name, tried) == head.link:
                return tried
    return []


def _copy_likely(remains: Remains, log: MissionLog) -> None:
    """Copy all that fits what comes before it."""
    cipher, entries = remains.cipher, remains.entries
    order, damaged_rows = remains.missions, remains.fingerprints
    log.keep_time(remains.uptime)
    # A name may be damaged, too: what belongs to none of the missions may be missing elsewhere.
    lost = {name for name in entries if name not in order and name not in damaged_rows}
    strays = [name for name in entries if name in lost][:_MAX_STRAYS]
    used: set[str] = set()
    for name in sorted(entries, key=lambda name: (name in lost, order.get(name, (0,))[0])):
        _, known = order.get(name, (0, None))
        try:
            found = Transcript(_name_of(cipher, name), known[1] if known else
                               damaged_rows.get(name, ''))
        except Damaged:
            continue
        rows = entries[name]
        while not (known and found.entries and cipher.encrypt_name(found.digest) == known[5]):
            number = len(found.entries)
            if not _take_one(cipher, found, rows.get(number, [])):
                after = {row[PARENT] for row in rows.get(1, [])} if not number else set()
                other = next((n for n in strays if n != name and _take_one(cipher, found, _linked(
                    cipher, found, entries[n].get(number, []), after))), '')
                if not other:
                    break
                used.add(other)
        if known:
            found.slid = known[2]
        elif len(found.entries) > 1 and found.entries[1].parent != found.entries[0].digest:
            found.slid = len(found.entries)  # keys were moved, unknown when: assume the worst
        if found.entries and not (name in used or name in lost and len(found.entries) == 1):
            log.write(found, known[6] if known else remains.uptime)


def _name_of(cipher: StorageCipher, hidden: str) -> str:
    """
    Return the name of a mission.

    :raises Damaged: when it was not hidden with this key, or no mission can have it.
    """
    try:
        check_mission_id(name := cipher.decrypt_name(hidden))
    except LfmError as error:
        raise Damaged('it is an invalid name') from error
    return name


def _linked(cipher: StorageCipher, found: Transcript, rows: list[Any], after: set[Any]
            ) -> list[Any]:
    """Return the rows that follow what was found, or that the next entry says it follows."""
    if found.entries:
        return [row for row in rows if row[PARENT] == cipher.encrypt_name(found.digest)]
    return [row for row in rows if row[DIGEST] in after]


def _take_one(cipher: StorageCipher, found: Transcript, rows: list[Any]) -> bool:
    """Append the first row that is good and comes next."""
    for row in rows:
        with suppress(Damaged):
            take(cipher, found, row[:-1], row[-1])
            return True
    return False
