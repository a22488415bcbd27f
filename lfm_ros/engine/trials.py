# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Try out what a graph can do: what it does counts, not what it is called."""
from __future__ import annotations

from lfm_ros.engine.run_errors import SizesDisagree
from lfm_ros.engine.runner import Runner
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

# How far rows of a call may be from the same rows of another call, in parts of their length.
# Rounding of activations to int8 may amplify a last bit up to 0.2 in models with random weights;
# a row that reads another state than its own is off by about 1.
NEAR = 0.5


def probe(runner: Runner) -> None:
    """
    Find out what the graph of a runner can do, and have it use that.

    It runs a few tokens: a graph that cannot run is better found now than in a mission.

    :raises LfmError: MODEL_FOREIGN, when it keeps no state.
    """
    found = runner.abilities
    if not can_continue(runner, [3, 4, 5]):
        # onnxruntime-genai's fp16 export for the CPU reads several tokens only at position 0.
        found = found._replace(reads_many=False)
        runner.use(found)
        if not can_continue(runner, [3]):
            raise LfmError(ErrorCode.MODEL_FOREIGN, 'the graph runs, but not behind tokens '
                           'that it has read before: export it again with its cache')
    found = found._replace(shared=can_share(runner))
    runner.use(found)
    found = found._replace(takes_back=can_take_back(runner))
    runner.use(found._replace(keeps_company=True))
    if runner.company_size and not keeps_company(runner):
        runner.use(found)


def can_continue(runner: Runner, ids: list[int]) -> bool:
    """
    Try whether these tokens can be read behind others.

    :raises LfmError: SizesDisagree, when the session must be opened without reuse of memory.
    """
    state = runner.new_state(shared=False)
    try:
        runner.run(state, [1, 2])
        runner.run(state, ids)
    except SizesDisagree:
        raise
    except LfmError:
        return False
    return True


def can_share(runner: Runner) -> bool:
    """
    Try whether keys and values can be appended in place.

    GroupQueryAttention takes one buffer as past and present and reads only what is valid; any
    other attention sees a past of the wrong length. So the same tokens are run both ways, with a
    poisoned buffer.
    """
    if not runner.signature.key_value:
        return True
    grown, shared = (runner.new_state(shared) for shared in (False, True))
    shared.reserve(4)
    for buffer in shared.key_value:
        buffer.fill(np.nan if buffer.dtype.kind == 'f' else 127)
    try:
        for ids in ([1, 2], [3]):
            found = runner.run(shared, ids).copy()
            expected = runner.run(grown, ids)
            if not np.allclose(found, expected, rtol=1e-2, atol=1e-2):
                return False
    except LfmError:
        return False
    return True


def can_take_back(runner: Runner) -> bool:
    """
    Try whether the last tokens of a call can be taken back as if they had never been there.

    Kernels that quantize all rows of a call by one scale cannot: there a row depends on the rows
    after it.
    """
    sig = runner.signature
    if not runner.shared or runner.head_pruned or runner.longest_call == 1 or \
            sig.conv and not sig.history:
        return False
    first, second = runner.new_state(), runner.new_state()
    for state in (first, second):
        runner.run(state, [1, 2])
    try:
        expected = runner.run(first, [3, 4], every=True).copy()
        found = runner.run(second, [3, 4, 5, 6, 7], every=True)[:2]
        if not np.array_equal(found, expected):
            return False
        runner.take_back(second, 2)
    except LfmError:
        return False
    ours, theirs = second.arrays(), first.arrays()
    return all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def keeps_company(runner: Runner) -> bool:
    """
    Try whether states that take a step together do what each would do alone.

    They sit in both orders: that no seat reads what belongs to another one shows in bits.
    """
    sizes = sorted({2, runner.company_size})
    states = [runner.new_state() for _ in range(runner.company_size)]
    tokens = [7 + place for place in range(len(states))]
    for place, state in enumerate(states):
        runner.run(state, [1 + place, 2, 3][:1 + place % 3])
    marks = [state.mark() for state in states]
    try:
        alone = [runner.run(s, [t, 0], every=True)[0].copy() for s, t in zip(states, tokens)]
        for count in sizes:
            found = []
            for order in (1, -1):
                for state, mark in zip(states, marks):
                    state.restore(mark)
                logits = runner.step_together(states[:count][::order], tokens[:count][::order])
                found.append(logits[::order].copy())
            first, second = found
            if not np.array_equal(first, second):
                return False
            for row, expected in zip(first, alone):
                if not np.linalg.norm(row - expected) <= NEAR * np.linalg.norm(expected):
                    return False
    except LfmError:
        return False
    finally:
        runner.leave_company()
    return True
