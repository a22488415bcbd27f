# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What was found out about a graph by trying, kept beside it when it was prepared."""
from __future__ import annotations

from contextlib import suppress
import json
import os
from pathlib import Path
from typing import NamedTuple

FILE = 'abilities.json'


class Abilities(NamedTuple):
    """
    What a graph can do in a session: see :class:`lfm_ros.engine.runner.Runner`.

    :ivar vocabulary: logits of one row.
    :ivar head_pruned: only the last of several rows comes out.
    :ivar reads_many: several tokens can be read in one call behind others.
    :ivar shared: keys and values can be appended in place.
    :ivar takes_back: the last tokens of a call can be taken back.
    :ivar keeps_company: several states can take a step in one call.
    """

    vocabulary: int
    head_pruned: bool
    reads_many: bool
    shared: bool
    takes_back: bool
    keeps_company: bool


def read_abilities(folder: Path, session: str) -> Abilities | None:
    """
    Return what was written; None when nothing was, or it cannot be read.

    :param session: what else they depend on, beside the files in the folder.
    """
    try:
        known = json.loads((folder / FILE).read_text())[session]
        return Abilities(**known) if all(isinstance(v, int) for v in known.values()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_abilities(folder: Path, session: str, abilities: Abilities) -> None:
    """Keep them; a folder that cannot be written to stays as it is: they are tried out again."""
    try:
        known = json.loads((folder / FILE).read_text())
    except (OSError, ValueError, RecursionError):
        known = {}
    known = known if isinstance(known, dict) else {}
    known[session] = abilities._asdict()
    own = folder / f'{FILE}.{os.getpid()}'
    with suppress(OSError):
        own.write_text(json.dumps(known, indent=1))
        own.replace(folder / FILE)
