# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Get out of a damaged log what is still good."""
from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
import errno
import os
from pathlib import Path
import sqlite3
import time
from typing import Any

from lfm_ros.engine.picture import Picture
from lfm_ros.errors import LfmError
from lfm_ros.missions.files import sync_folder
from lfm_ros.missions.log import MissionLog
from lfm_ros.missions.pages import rows_of
from lfm_ros.missions.request import check_mission_id
from lfm_ros.missions.rows import is_mission
from lfm_ros.missions.rows import LONGEST_UPTIME
from lfm_ros.missions.rows import seal_of
from lfm_ros.missions.rows import take
from lfm_ros.missions.rows import to_picture
from lfm_ros.missions.transcript import Transcript
from lfm_ros.missions.vault import Damaged
from lfm_ros.missions.vault import Vault

_MISSION, _ENTRY, _CLOCK, _SHOWN, _PICTURE = 8, 15, 2, 4, 6  # columns
_REAL = {_MISSION: 6, _ENTRY: 10, _CLOCK: 1}  # a column in which SQLite keeps 2.0 as 2
_PARENT, _DIGEST = 9, 10  # in a row of an entry
_FINGERPRINT = 64  # characters
_MOST_STRAYS = 256  # where the rest of a mission is looked for


def open_log(file: Path, vault: Vault) -> tuple[MissionLog, str]:
    """
    Open a log; one that is damaged is put aside, and what is still good of it is copied.

    It may be interrupted anywhere: what was said is whole in one of the files at any time.

    :returns: also what was found, one sentence; empty: nothing.
    :raises sqlite3.Error: when it cannot be written, or a newer version of lfm_ros wrote it.
    :raises OSError: when it cannot be written.
    """
    notice, mended = '', file.with_name(f'{file.name}.mended')
    if not mended.exists():
        try:
            return MissionLog(file, vault=vault), ''
        except sqlite3.OperationalError:  # the disk is full, read-only, ...
            raise
        except sqlite3.DatabaseError as error:
            notice = f'{file} was damaged ({error})'
            _mend(file, mended, vault)
    aside = file.with_name(f'{file.name}.damaged-{time.strftime("%Y%m%d-%H%M%S")}')
    for ending in ('-shm', '-wal', ''):
        with suppress(FileNotFoundError):
            os.rename(f'{file}{ending}', f'{aside}{ending}')
    os.rename(mended, file)
    sync_folder(file.parent)
    log = MissionLog(file, vault=vault)
    found = log.list()
    return log, (f'{notice or f"{file} was damaged"}: {len(found)} missions with '
                 f'{sum(summary.turns for summary in found)} turns came back, the damaged file is '
                 f'kept as {aside.name}')


def _mend(file: Path, mended: Path, vault: Vault) -> None:
    """Make a log of what is still good of a damaged one."""
    part = mended.with_name(f'{mended.name}.part')
    for ending in ('', '-wal', '-shm'):
        Path(f'{part}{ending}').unlink(missing_ok=True)
    log = MissionLog(part, vault=vault)
    try:
        salvage(file, log)
    finally:
        log.close()  # all of it is in the file itself then
    if Path(f'{part}-wal').exists():
        raise OSError(errno.EIO, f'{part} could not be completed')
    os.rename(part, mended)
    sync_folder(file.parent)


def salvage(damaged: Path, log: MissionLog) -> None:
    """
    Copy what can still be read of a file into another log with the same key, entry by entry.

    :raises sqlite3.Error: when the other log cannot be written.
    """
    order: dict[str, tuple[int, list[Any]]] = {}
    damaged_rows: dict[str, str] = {}  # a fingerprint that is damaged is that of no model
    entries: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    shown: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    pictures: dict[str, Picture] = {}
    uptime, vault = 0.0, log.vault
    for row, values in rows_of(damaged):
        real = _REAL.get(len(values))
        if real and isinstance(values[real], int):
            values[real] = float(values[real])
        if len(values) == _MISSION and isinstance(values[0], str):
            if values[-1] != seal_of(vault, values[:-1]) or not is_mission(values[:-1]):
                damaged_rows.setdefault(values[0], str(values[1])[:_FINGERPRINT])
            else:  # the last one is the newest
                order[values[0]] = row, values
        elif len(values) == _ENTRY and isinstance(values[1], str) and isinstance(values[2], int):
            entries[values[1]][values[2]].append([*values[2:], []])  # no images
        elif len(values) == _CLOCK and isinstance(values[1], float) and \
                0 < values[1] < LONGEST_UPTIME:
            uptime = max(uptime, values[1])
        elif len(values) == _PICTURE:
            with suppress(Damaged):
                pictures[str(values[0])] = to_picture(vault, values)
        elif len(values) == _SHOWN and type(values[1]) is type(values[2]) is int:
            shown[str(values[0]), values[1]][values[2]] = str(values[3])
    for (name, number), digests in shown.items():
        images = [pictures[d] for _, d in sorted(digests.items()) if d in pictures]
        for row in entries.get(name, {}).get(number, []):
            row[-1] = images
    uptime = max([uptime, *(values[6] for _, values in order.values())])
    log.keep_time(uptime)
    # A name may be damaged, too: what belongs to none of the missions may be missing elsewhere.
    lost = {name for name in entries if name not in order and name not in damaged_rows}
    strays = [name for name in entries if name in lost][:_MOST_STRAYS]
    used: set[str] = set()
    for name in sorted(entries, key=lambda name: (name in lost, order.get(name, (0,))[0])):
        _, known = order.get(name, (0, None))
        try:
            found = Transcript(vault.reveal(name), known[1] if known else
                               damaged_rows.get(name, ''))
            check_mission_id(found.mission_id)
        except (Damaged, LfmError):
            continue
        rows = entries[name]
        while not (known and found.entries and vault.hide(found.digest) == known[5]):
            number = len(found.entries)
            if not _take_one(vault, found, rows.get(number, [])):
                after = [row[_PARENT] for row in rows.get(1, [])] if not number else []
                other = next((n for n in strays if n != name and _take_one(vault, found, _linked(
                    vault, found, entries[n].get(number, []), after))), '')
                if not other:
                    break
                used.add(other)
        if known:
            found.slid = known[2]
        elif len(found.entries) > 1 and found.entries[1].parent != found.entries[0].digest:
            found.slid = len(found.entries)  # keys were moved, nobody knows when: the worst
        if found.entries and not (name in used or name in lost and len(found.entries) == 1):
            log.write(found, known[6] if known else uptime)


def _linked(vault: Vault, found: Transcript, rows: list[Any], after: list[str]) -> list[Any]:
    """Return the rows that follow what was found, or that the next entry says it follows."""
    if found.entries:
        return [row for row in rows if row[_PARENT] == vault.hide(found.digest)]
    return [row for row in rows if row[_DIGEST] in after]


def _take_one(vault: Vault, found: Transcript, rows: list[Any]) -> bool:
    """Append the first row that is good and comes next."""
    for row in rows:
        with suppress(Damaged):
            take(vault, found, row[:-1], row[-1])
            return True
    return False
