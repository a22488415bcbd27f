# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The plainest way to run an exported graph: onnxruntime with growing states, call by call."""

import math
from pathlib import Path
import re

import no_telemetry  # noqa: F401
import numpy
import onnxruntime

_TYPES = {
    'tensor(float)': numpy.float32, 'tensor(float16)': numpy.float16, 'tensor(int8)': numpy.int8,
    'tensor(uint8)': numpy.uint8, 'tensor(int64)': numpy.int64}


class PlainRunner:
    """
    One sequence on one graph; a second opinion that shares no code with the engine.

    :param model: path of the .onnx file
    :param head_size: value of a symbolic last dimension of the key and value states
    :param memory_reuse: whether results may share memory, which needs right notes of shapes
    """

    def __init__(self, model: Path, head_size: int, memory_reuse: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.enable_mem_reuse = memory_reuse
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=['CPUExecutionProvider'])
        self._head_size = head_size
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.reset()

    def reset(self) -> None:
        """Forget the sequence."""
        self._length = 0
        self._states = {
            item.name: numpy.zeros(self._shape(item.shape), _TYPES[item.type])
            for item in self._session.get_inputs() if item.name.startswith('past')}

    def feed(self, ids: list[int], embeds: numpy.ndarray | None = None) -> numpy.ndarray:
        """
        Append `ids` and return the log-probabilities [len(ids) or 1, vocabulary] in fp64.

        :param embeds: vectors [1, len(ids), hidden] of the ids, for a graph that takes these
        """
        total = self._length + len(ids)
        feeds = dict(self._states)
        for item in self._session.get_inputs():
            if item.name == 'input_ids':
                feeds[item.name] = numpy.array([ids], numpy.int64)
            elif item.name == 'inputs_embeds':
                feeds[item.name] = embeds.astype(_TYPES[item.type])
            elif item.name == 'attention_mask':
                feeds[item.name] = numpy.ones((1, total), numpy.int64)
            elif item.name == 'position_ids':
                feeds[item.name] = numpy.arange(self._length, total, dtype=numpy.int64)[None]
            elif item.name == 'num_logits_to_keep':
                feeds[item.name] = numpy.array(0, numpy.int64)
        results = dict(zip(self._outputs, self._session.run(None, feeds)))
        self._states = {name: results[present_name(name)] for name in self._states}
        self._length = total
        logits = results['logits'][0].astype(numpy.float64)
        return logits - numpy.logaddexp.reduce(logits, axis=-1, keepdims=True)

    def _shape(self, shape: list[int | str]) -> list[int]:
        """Return the shape of a state of length zero."""
        sizes = {'batch_size': 1}
        return [
            size if isinstance(size, int) else 0 if 'sequence' in size
            else sizes.get(size, self._head_size) for size in shape]


def present_name(past: str) -> str:
    """Return the output that carries the next value of the state input `past`."""
    return re.sub('^past_key_values', 'present', past) if past.startswith('past_key') else (
        re.sub('^past', 'present', past))


def score(runner: PlainRunner, ids: list[int], chunk: int) -> list[float]:
    """Return log p(ids[i + 1] | ids[: i + 1]) for all i, fed in chunks of `chunk` ids."""
    runner.reset()
    rows = numpy.concatenate(
        [runner.feed(ids[start:start + chunk]) for start in range(0, len(ids), chunk)])
    return [float(rows[i, ids[i + 1]]) for i in range(len(ids) - 1)]


def continue_greedily(runner: PlainRunner, prompt: list[int], count: int) -> list[int]:
    """Return the `count` most probable ids after `prompt`, each given those before it."""
    runner.reset()
    ids = list(prompt)
    fresh = prompt
    for _ in range(count):
        fresh = [int(numpy.argmax(runner.feed(fresh)[-1]))]
        ids += fresh
    return ids[len(prompt):]


def largest_difference(found: list[float], wanted: list[float]) -> float:
    """Return the largest absolute difference of two lists; not finite counts as infinite."""
    difference = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    return difference if math.isfinite(difference) else math.inf
