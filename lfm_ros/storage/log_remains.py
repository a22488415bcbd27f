# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The rows found in a damaged log, by mission."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.storage.encryption import Damaged
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.ledger import Ledger
from lfm_ros.storage.log_schema import is_sealed_by
from lfm_ros.storage.log_schema import MAX_UPTIME
from lfm_ros.storage.log_schema import sealed_at
from lfm_ros.storage.log_schema import to_image
from lfm_ros.storage.sqlite_pages import rows_of

PARENT, DIGEST = 9, 10  # in a row of an entry
_MISSION, _ENTRY, _SHORT, _SHOWN, _IMAGE, _RECORD = 8, 15, 2, 4, 6, 3  # columns
_REAL = {_MISSION: 6, _ENTRY: 10, _SHORT: 1}  # a column in which SQLite keeps 2.0 as 2
_FINGERPRINT = 64  # characters


class Remains:
    """
    What is left of a log; where there are several versions of a row the newest comes last.

    :param cipher: of the log.
    :ivar cipher: opens the rows: the one of chained rows if any of them is one.
    :ivar missions: rows without the seal, by hidden names, each with its place in the list.
    :ivar fingerprints: that damaged rows of missions have: those of no model.
    :ivar entries: rows by hidden names and numbers; last in each are its images.
    :ivar proofs: digests of rows of entries, by places.
    :ivar uptime: for how many seconds missions were kept, as far as that is known.
    """

    def __init__(self, damaged: Path, cipher: StorageCipher) -> None:
        self.missions: dict[str, tuple[int, list[Any]]] = {}
        self.fingerprints: dict[str, str] = {}
        self.entries: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self.proofs: dict[int, list[bytes]] = defaultdict(list)
        self.uptime = 0.0
        self._newest = 0  # counter in a row of a mission
        # Each record once: there may be as many copies of one as there is room for.
        self._records: dict[int, dict[tuple[int, bytes], None]] = defaultdict(dict)
        self._prepared_images: dict[str, PreparedImage] = {}
        self._shown: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
        self.cipher = cipher.rows if cipher.key_id and any(
            is_sealed_by(cipher.rows, values[1:]) if len(values) == _ENTRY else
            len(values) == _MISSION and sealed_at(cipher.rows, _real(values)) is not None
            for _, values in rows_of(damaged)) else cipher
        for number, values in rows_of(damaged):
            self._sort(number, _real(values))
        for (name, number), digests in self._shown.items():
            images = [self._prepared_images[d] for _, d in sorted(digests.items())
                      if d in self._prepared_images]
            for row in self.entries.get(name, {}).get(number, []):
                row[-1] = images
        self.uptime = max([self.uptime, *(row[6] for _, row in self.missions.values())])

    def ledger(self) -> Ledger | None:
        """Return the list of missions, if all of it can be proved and nothing else is newer."""
        if not self.cipher.key_id or not self._records:
            return None
        found = [self._follow(first) for first in self._records.get(0, ())]
        newest = max(self._newest, *(counter for records in self._records.values()
                                     for counter, _ in records))
        best = max(found, key=lambda each: each.counter, default=None)
        return best if best and best.counter == newest else None

    def _follow(self, first: tuple[int, bytes]) -> Ledger:
        """Return what the records say from one of all missions on."""
        found, records = Ledger(self.cipher), [first]
        while records:
            for counter, record in reversed(records):
                with suppress(Damaged):
                    found.add(found.opened(found.places, counter, record))
                    break
            else:
                break
            records = [each for each in self._records.get(found.places, ())
                       if each[0] == found.counter + 1]
        return found

    def _sort(self, number: int, values: Sequence[Any]) -> None:
        size, first = len(values), values[0] if values else None
        if size == _MISSION and isinstance(first, str):
            counter = sealed_at(self.cipher, values)
            if counter is None:
                self.fingerprints.setdefault(first, str(values[1])[:_FINGERPRINT])
            else:  # the last one is the newest
                self.missions[first] = number, list(values[:-1])
                self._newest = max(self._newest, counter)
        elif size == _ENTRY and isinstance(values[1], str) and isinstance(values[2], int):
            self.entries[values[1]][values[2]].append([*values[2:], []])  # no images
        elif size == _SHORT and isinstance(values[1], float) and 0 < values[1] < MAX_UPTIME:
            self.uptime = max(self.uptime, values[1])
        elif size == _SHORT and isinstance(values[1], bytes):
            self.proofs[number].append(values[1])
        elif size == _RECORD and isinstance(values[1], int) and isinstance(values[2], bytes):
            self._records[number].pop((values[1], values[2]), None)  # the newest come last
            self._records[number][values[1], values[2]] = None
        elif size == _IMAGE:
            with suppress(Damaged):
                self._prepared_images[str(first)] = to_image(self.cipher, values)
        elif size == _SHOWN and type(values[1]) is type(values[2]) is int:
            self._shown[str(first), values[1]][values[2]] = str(values[3])


def _real(values: list[Any]) -> list[Any]:
    place = _REAL.get(len(values))
    if place and isinstance(values[place], int):
        return [*values[:place], float(values[place]), *values[place + 1:]]
    return values
