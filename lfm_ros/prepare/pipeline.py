# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All edits in their order, and the note in the graph that lists those that were made."""
from __future__ import annotations

import json
from typing import Any

from lfm_ros.engine.runtime.session import runtime_version
from lfm_ros.prepare import DEFAULT_LANES
from lfm_ros.prepare import VERSION
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.passes.batch_decode import add_batch_decode
from lfm_ros.prepare.passes.conv_history import add_conv_history
from lfm_ros.prepare.passes.lm_head import prune_lm_head
from lfm_ros.prepare.passes.portable import make_portable

APPLIED = 'applied'
KEY = 'lfm_ros.prepared'


def edit_losslessly(graph: Graph, lanes: int = DEFAULT_LANES,
                    portable: bool = False) -> dict[str, str]:
    """
    Make the edits that change no number.

    :param portable: also for versions of ONNX Runtime that are older than this one.
    :returns: what was done, :data:`APPLIED` or the reason why not, by edit.
    """
    return {**edit_before_attention(graph, portable),
            'company': _outcome(add_batch_decode(graph, lanes))}


def edit_before_attention(graph: Graph, portable: bool = False) -> dict[str, str]:
    """Make the lossless edits that leave attention alone; return what was done by edit."""
    version = (0, 0) if portable else runtime_version()
    return {'portable': _outcome(make_portable(graph, version)),
            'head': _outcome(prune_lm_head(graph)), 'history': _outcome(add_conv_history(graph))}


def _outcome(reason: str) -> str:
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


def write_note(graph: Graph, edits: dict[str, str], lanes: int = DEFAULT_LANES,
               **more: Any) -> None:
    """
    Note in the graph what was done.

    :param more: other entries of the note: ``kv``, ``prefill``.
    """
    note = {'version': VERSION, 'edits': edits,
            'slots': lanes if edits.get('company') == APPLIED else 0, 'kv': '', 'prefill': '',
            **more}
    kept = [item for item in graph.model.metadata_props if item.key != KEY]
    del graph.model.metadata_props[:]
    graph.model.metadata_props.extend(kept)
    graph.model.metadata_props.add(key=KEY, value=json.dumps(note, sort_keys=True))
