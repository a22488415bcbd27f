# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Probe whether a graph rotates its keys as its settings declare."""
from __future__ import annotations

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.runtime.rotary import Rotary
from lfm_ros.engine.runtime.rotary import unsupported
from lfm_ros.engine.runtime.runner import Runner
from lfm_ros.engine.runtime.state import Mark
import numpy as np

PROBE_ROWS = 512  # far enough to check the slow frequencies, at 12 MB for LFM2-350M
# How far a key may be from where it should be, in parts of its length. Nothing but rounding to
# fp16 moves it in the first attention layer; Llama 3.2 without its scaling is off by 0.16 there.
# Later layers amplify the rounding of activations to int8: 0.02 in LFM2-350M with random weights.
CLOSE = 0.005
CLOSE_LATER = 0.2


def proved_rotary(folder: ModelFolder, runner: Runner) -> Rotary:
    """
    Return the rotary embedding of a model after a probe of every attention layer.

    The probe reads about as many tokens as all conv states have columns.

    :raises LfmError: UNSUPPORTED, when keys cannot be rotated, or the graph rotates them in
        another way.
    """
    keys = [t for t in runner.signature.key_value if t.kind == 'key']
    if not keys:
        raise unsupported('it keeps none')
    if any(t.dtype.kind != 'f' for t in keys):
        raise unsupported(f'they are stored as {keys[0].dtype}',
                          'take an export with float or float16 state, or ')
    rotary = Rotary.read(folder, keys[0].shape[3], runner.limit)
    if not _holds(rotary, runner, [t.name for t in keys]):
        raise unsupported(f'the graph does not rotate them as the settings in {folder.root} say',
                          'copy config.json of the same export into it, or ')
    return rotary


def _holds(rotary: Rotary, runner: Runner, keys: list[str]) -> bool:
    """
    Return whether the graph's own keys at later positions are the key at 0, rotated.

    One token is read again and again at position 0, until nothing in the conv state is left from
    its beginning. Then the input of every layer is the same at every position as long as all
    values in the state are the same: attention over them gives that value, whatever the keys.
    So rows can be repeated up to a position far away, and only the keys that follow may differ.
    """
    token = [runner.vocabulary // 2]  # a common one; the embedding of padding may be 0
    state = runner.new_state()
    for _ in range(1 + sum(t.shape[2] for t in runner.signature.conv)):
        state.restore(Mark(0, state.mark().conv_state))
        runner.run(state, token)
    first = state.arrays()
    grows = {t.name for t in runner.signature.key_value}
    for start in (1, min(runner.limit, PROBE_ROWS) - 2):
        later = runner.new_state()
        later.load({name: array.repeat(start, axis=2) if name in grows else array
                    for name, array in first.items()}, start)
        runner.run(later, token)
        runner.run(later, token)
        after = later.arrays()
        for name in keys:
            most = CLOSE if name == keys[0] else CLOSE_LATER
            for place in (start, start + 1):
                found = after[name][:, :, place:place + 1]
                if not _close(found, rotary.rotate(first[name], place), most):
                    return False
            if start > 1 and _close(found, first[name], CLOSE):
                return False  # keys that are not rotated at all prove nothing
    return True


def _close(found: np.ndarray, expected: np.ndarray, most: float) -> bool:
    """Return whether keys are close in every head; NaN is not."""
    error = np.linalg.norm(np.subtract(found, expected, dtype=np.float32), axis=-1)
    return bool(np.all(error <= most * np.linalg.norm(expected.astype(np.float32), axis=-1)))
