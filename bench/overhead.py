# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Compare the engine with a bare ONNX Runtime session that does the same calls.

Both write tokens behind the same history, in turn, in one process; the median of the ratios
counts, because a shared machine is never equally fast. The bare loop does nothing but the calls:
prepared bindings, no sampling, no text. The engine chooses tokens, decodes text and looks for a
stop text, as in a turn of a mission.

    python bench/overhead.py MODEL [--history 512] [--tokens 48] [--rounds 11]
"""
from __future__ import annotations

import argparse
import json
import statistics
import time

from lfm_ros.engine.decoding.generation import Generation
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import Sampling
import numpy as np
import onnxruntime


class BareSession:
    """Two bindings to preallocated buffers, used in turn; ``[1, 1]`` tokens at a time."""

    def __init__(self, model: Model, history: int, tokens: int) -> None:
        self._session = model.session
        sig = model.signature
        room = history + tokens + 1
        self._history = history
        self._mask = np.ones((1, room), np.int64)
        self._ids = np.full((1, 1), 3, np.int64)
        self._logits = np.empty((1, 1, model.vocabulary), sig.logits_dtype)
        windows = [[np.zeros(t.shape, t.dtype) for t in sig.conv] for _ in range(2)]
        self._kv = [np.zeros((*t.shape[:2], room, t.shape[3]), t.dtype) for t in sig.key_value]
        self._windows = windows
        self._options = onnxruntime.RunOptions()
        self._bindings = []
        for now, after in (windows, windows[::-1]):
            binding = self._session.io_binding()
            place(binding.bind_input, sig.ids, self._ids)
            for tensor, source, target in zip(sig.conv, now, after):
                place(binding.bind_input, tensor.name, source)
                place(binding.bind_output, tensor.output, target)
            for tensor, array in zip(sig.key_value, self._kv):
                place(binding.bind_input, tensor.name, array)
                place(binding.bind_output, tensor.output, array)
            place(binding.bind_output, sig.logits, self._logits)
            self._bindings.append(binding)

    def write(self, tokens: int) -> float:
        """Return the seconds for so many tokens."""
        started = time.perf_counter()
        for step in range(tokens):
            binding = self._bindings[step & 1]
            binding.bind_input('attention_mask', 'cpu', 0, np.int64,
                               (1, self._history + step + 1), self._mask.ctypes.data)
            self._session.run_with_iobinding(binding, self._options)
        return time.perf_counter() - started


def place(bind: object, name: str, array: np.ndarray) -> None:
    """Bind an array by its address."""
    bind(name, 'cpu', 0, array.dtype, array.shape, array.ctypes.data)  # type: ignore[operator]


def write(model: Model, history: int, tokens: int, sampling: Sampling) -> float:
    """Return the seconds the engine takes for so many tokens, after the first."""
    state = model.new_state()
    ids = np.random.default_rng(0).integers(3, model.vocabulary, history).tolist()
    logits = np.empty(0)
    for chunk in model.chunks(ids):
        logits = model.runner.run(state, chunk)[-1]
    generation = Generation(model, state, sampling, Limits(tokens + 1, ['no such text']))
    steps = generation.steps(logits.copy(), ids)
    next(steps)
    started = time.perf_counter()
    for _ in range(tokens):
        next(steps)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('model')
    parser.add_argument('--history', type=int, default=512)
    parser.add_argument('--tokens', type=int, default=48)
    parser.add_argument('--rounds', type=int, default=11)
    parser.add_argument('--threads', type=int, default=0)
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    size, tokens = arguments.history, arguments.tokens
    model = Model(arguments.model, ModelOptions(
        threads=arguments.threads, context_length=size + tokens + 16))
    model.end_ids = frozenset()  # every answer gets the same length
    bare = BareSession(model, size, tokens)
    kinds = {'greedy': Sampling(temperature=0, min_p=0, repetition_penalty=1.0, seed=1),
             'LFM2 card': Sampling(seed=1)}
    bare.write(4)
    speeds: dict[str, list[float]] = {'bare': [], **{k: [] for k in kinds}}
    for _ in range(arguments.rounds):
        before = tokens / bare.write(tokens)
        for kind, sampling in kinds.items():
            speeds[kind].append(tokens / write(model, size, tokens, sampling))
        speeds['bare'].append((before + tokens / bare.write(tokens)) / 2)
    result = {'model': model.name, 'history': size, 'tokens': tokens,
              'tokens_per_second': {k: statistics.median(v) for k, v in speeds.items()},
              'ratio': {k: statistics.median(a / b for a, b in zip(speeds[k], speeds['bare']))
                        for k in kinds}}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f'{model.name}, {size} tokens of history, {arguments.rounds} rounds of {tokens} tokens')
    for kind, speed in result['tokens_per_second'].items():
        ratio = result['ratio'].get(kind)
        print(f'{kind:<10} {speed:8.1f} tokens/s' + (f'  {ratio:.3f} of bare' if ratio else ''))


if __name__ == '__main__':
    main()
