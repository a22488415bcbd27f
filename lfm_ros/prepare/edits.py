# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All edits in their order, and the note in the graph that says which were made."""
from __future__ import annotations

import json
from typing import Any

from lfm_ros.prepare import SLOTS
from lfm_ros.prepare import VERSION
from lfm_ros.prepare.company import add_company
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.head import cut_head
from lfm_ros.prepare.history import add_history
from lfm_ros.prepare.portable import make_portable
import onnxruntime

APPLIED = 'applied'
KEY = 'lfm_ros.prepared'


def runtime_version() -> tuple[int, int]:
    """Return the version of ONNX Runtime that is here."""
    major, minor = onnxruntime.__version__.split('.')[:2]
    return int(major), int(minor)


def edit_losslessly(graph: Graph, slots: int = SLOTS, portable: bool = False) -> dict[str, str]:
    """
    Make the edits that change no number.

    :param portable: also for versions of ONNX Runtime that are older than this one.
    :returns: what was done, :data:`APPLIED` or the reason why not, by edit.
    """
    return {**edit_before_attention(graph, portable), 'company': _said(add_company(graph, slots))}


def edit_before_attention(graph: Graph, portable: bool = False) -> dict[str, str]:
    """Make the lossless edits that leave attention alone; return what was done by edit."""
    version = (0, 0) if portable else runtime_version()
    return {'portable': _said(make_portable(graph, version)),
            'head': _said(cut_head(graph)), 'history': _said(add_history(graph))}


def _said(reason: str) -> str:
    return reason or APPLIED


def read_note(graph: Graph) -> dict[str, Any]:
    """Return the note of a graph that was prepared; empty for any other."""
    for item in graph.model.metadata_props:
        if item.key == KEY:
            try:
                note = json.loads(item.value)
            except (ValueError, RecursionError):
                return {}
            return note if isinstance(note, dict) else {}
    return {}


def write_note(graph: Graph, edits: dict[str, str], slots: int = SLOTS, **more: Any) -> None:
    """
    Note in the graph what was done.

    :param more: what else is to be kept: ``kv``, ``prefill``.
    """
    note = {'version': VERSION, 'edits': edits,
            'slots': slots if edits.get('company') == APPLIED else 0, 'kv': '', 'prefill': '',
            **more}
    kept = [item for item in graph.model.metadata_props if item.key != KEY]
    del graph.model.metadata_props[:]
    graph.model.metadata_props.extend(kept)
    graph.model.metadata_props.add(key=KEY, value=json.dumps(note, sort_keys=True))
