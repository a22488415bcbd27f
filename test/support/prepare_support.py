# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of prepared graphs share: graphs that are edited, and a plain way to run them."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from copy import copy
from pathlib import Path
import shutil
from typing import Any

from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import load
import numpy as np
import onnxruntime
from support import folder
from support import golden
from support import RECIPES

TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(int8)': np.int8,
         'tensor(int64)': np.int64, 'tensor(int32)': np.int32, 'tensor(bool)': np.bool_}


def edited(name: str, target: Path, edit: Callable[[Graph], Any]) -> tuple[Path, Any]:
    """Copy a fixture, edit its graph, and return the path of the graph and what `edit` gave."""
    shutil.copytree(folder(name), target / Path(name).name, dirs_exist_ok=True)
    path = target / Path(name).name / 'model.onnx'
    graph = load(path)
    found = edit(graph)
    path.write_bytes(graph.model.SerializeToString())
    return path, found


def ids_of(name: str) -> list[int]:
    """Return ids for a fixture to read."""
    return list(golden(Path(name).name)['ids'])


class Driver:
    """
    Runs a graph, with states that grow.

    :ivar state: keys, values and windows by name of the input.
    """

    def __init__(self, path: Path, width: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(str(path), options)
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.width = width or next((r.head_size for r in RECIPES if r.name == path.parent.name),
                                   0)
        self.restart()

    def restart(self) -> None:
        """Forget all that was read."""
        self.position = 0
        self.state = {n: self.empty(n) for n in self.inputs if n.startswith('past')}

    def another(self) -> Driver:
        """Return one that has read nothing, on the same session."""
        other = copy(self)
        other.restart()
        return other

    def empty(self, name: str) -> np.ndarray:
        """Return the state of an input at position 0."""
        item = self.inputs[name]
        shape = [1, *item.shape[1:]]
        if len(shape) == 4:
            shape[2], shape[3] = 0, self.width
        return np.zeros(shape, TYPES[item.type])

    def feeds(self, ids: Sequence[Sequence[int]], keep: int = 0) -> dict[str, np.ndarray]:
        """Return what a call takes beside its states; ``keep`` 0 asks for all logits."""
        rows, count = np.shape(ids)
        total = self.position + count
        feeds: dict[str, np.ndarray] = {
            'input_ids': np.array(ids, np.int64),
            'attention_mask': np.ones((rows, total), np.int64),
            'position_ids': np.arange(self.position, total)[None].repeat(rows, 0),
            'logits_to_keep': np.array([keep or count], np.int64)}
        feeds = {n: a for n, a in feeds.items() if n in self.inputs}
        for name, item in self.inputs.items():
            if name.startswith('slot.') and '.past_key_values.' in name:
                feeds[name] = self.empty(name)
            elif name not in feeds and not name.startswith('past'):
                feeds[name] = np.zeros(item.shape, TYPES[item.type])
        return feeds

    def read(self, ids: Sequence[int], keep: int = 0, **more: Any) -> dict[str, np.ndarray]:
        """Read ids; return all outputs by name."""
        feeds = {**self.feeds([ids], keep), **self.state, **more}
        found = dict(zip(self.outputs, self.session.run(None, feeds)))
        self.position += len(ids)
        self.state = {n: found[n.replace('past_key_values', 'present').replace('past', 'present')]
                      for n in self.state}
        return found

    def logits(self, ids: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
        """Return the logits after each id, read in calls of these sizes."""
        rows, start = [], 0
        for size in sizes:
            rows.append(self.read(ids[start:start + size])['logits'][0])
            start += size
        return np.concatenate(rows).astype(np.float32)

    def window(self, layer: int) -> np.ndarray:
        """Return the window of a convolution now."""
        return next(a for n, a in self.state.items()
                    if n in (f'past.{layer}.conv', f'past_conv.{layer}'))
