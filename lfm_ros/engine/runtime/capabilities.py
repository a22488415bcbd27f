# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What probes found out about a graph, kept beside it when it was prepared."""
from __future__ import annotations

from contextlib import suppress
import json
from pathlib import Path
from typing import NamedTuple

from lfm_ros.files import read_file
from lfm_ros.files import replace_file

# Tokens; on a CPU the size of chunks hardly changes the speed.
PREFILL_CHUNK = 64
FILE = 'abilities.json'
_MAX_FILE_BYTES = 1 << 20  # bytes
# Keys of the file that have older names.
_KEYS = {'can_rollback': 'takes_back', 'rows_independent': 'keeps_company'}


class Capabilities(NamedTuple):
    """
    What a graph can do in a session: see :class:`lfm_ros.engine.runtime.runner.Runner`.

    :ivar vocabulary: logits of one row.
    :ivar head_pruned: only the last of several rows comes out.
    :ivar reads_many: several tokens can be read in one run behind others.
    :ivar shared: keys and values can be appended in place.
    :ivar can_rollback: the last tokens of a run can be rolled back.
    :ivar rows_independent: several states can be decoded in one run.
    :ivar captured: a GPU can replay a run of one token, with the same logits.
    :ivar prefill_chunk: tokens of a prompt that are best read in one run.
    """

    vocabulary: int
    head_pruned: bool
    reads_many: bool
    shared: bool
    can_rollback: bool
    rows_independent: bool
    captured: bool = False
    prefill_chunk: int = PREFILL_CHUNK


def read_capabilities(folder: Path, session: str) -> Capabilities | None:
    """
    Return the capabilities that were written; None when there are none that can be read.

    :param session: what else they depend on, beside the files in the folder.
    """
    try:
        known = json.loads(read_file(folder / FILE, _MAX_FILE_BYTES))[session]
        found = Capabilities(**{name: known.pop(_KEYS.get(name, name)) for name in
                                Capabilities._fields})
        return found if not known and all(isinstance(v, int) for v in found) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_capabilities(folder: Path, session: str, capabilities: Capabilities) -> None:
    """Write them; where a folder cannot be written to, the graph is probed again each time."""
    try:
        known = json.loads(read_file(folder / FILE, _MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        known = {}
    known = known if isinstance(known, dict) else {}
    known[session] = {_KEYS.get(name, name): value
                      for name, value in capabilities._asdict().items()}
    with suppress(OSError):
        replace_file(folder / FILE, json.dumps(known, indent=1).encode())
