# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Probe what a graph can do: its name and metadata do not count."""
from __future__ import annotations

import logging
import time

from lfm_ros.engine.runtime.capabilities import PREFILL_CHUNK
from lfm_ros.engine.runtime.ort_errors import BufferReuseError
from lfm_ros.engine.runtime.prepared_runs import SHORT
from lfm_ros.engine.runtime.runner import Runner
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

_log = logging.getLogger(__name__)

# How far rows of a run may be from the same rows of another run, in parts of their norm.
# Rounding of activations to int8 may amplify a last bit up to 0.2 in models with random weights;
# a row that reads another state than its own is off by about 1.
NEAR = 0.5
# In rows that are not valid: it fits every type, and would change the logits if it were used.
POISON = 100
# What a chunk of a prompt may be on a device: tokens, seconds, and the speed of twice as many.
LARGEST_CHUNK = 4096
MAX_RUN_SECONDS = 0.1
WORTH = 1.2
# Tokens behind which rows are compared: attention may take rows in groups of up to 64 at once, and
# SHORT rows behind each of these cross the end of groups of another size.
PASTS = (2, 13, 29, 60)


def probe(runner: Runner) -> None:
    """
    Find out what the graph of a runner can do, and have the runner use that.

    It runs a few tokens: a graph that cannot run is better found now than in a mission.

    :raises LfmError: MODEL_FOREIGN, when it keeps no state.
    """
    found = runner.capabilities
    if not can_continue(runner, [3, 4, 5]):
        # onnxruntime-genai's fp16 export for the CPU reads several tokens only at position 0.
        found = found._replace(reads_many=False)
        runner.use(found)
        if not can_continue(runner, [3]):
            raise LfmError(ErrorCode.MODEL_FOREIGN, 'the graph runs, but not with earlier tokens '
                           'in its cache: export it again with its cache')
    found = found._replace(shared=can_share(runner))
    runner.use(found)
    found = found._replace(can_rollback=can_rollback(runner))
    if runner.memory.on_device and found.reads_many:
        found = found._replace(prefill_chunk=best_chunk(runner))
    runner.use(found)
    if runner.can_have_lanes:
        found = found._replace(captured=replays(runner))
    runner.use(found._replace(rows_independent=True))
    if not (runner.max_batch_size and rows_independent(runner)):
        runner.use(found)
    runner.close_unused_lanes()


def can_continue(runner: Runner, ids: list[int]) -> bool:
    """
    Return whether these tokens can be read behind others.

    :raises LfmError: BufferReuseError, when the session must be opened without reuse of memory.
    """
    state = runner.new_state(shared=False)
    try:
        runner.run(state, [1, 2])
        runner.run(state, ids)
    except BufferReuseError:
        raise
    except LfmError:
        return False
    return True


def can_share(runner: Runner) -> bool:
    """
    Return whether keys and values can be appended in place.

    GroupQueryAttention takes one buffer as past and present and uses only what is valid; any
    other attention sees a past of the wrong length. So the same tokens are run both ways, with a
    poisoned buffer. Kernels of GPUs multiply rows that are not valid, too, by 0: the poison is a
    number.
    """
    if not runner.signature.key_value:
        return True
    grown, shared = (runner.new_state(shared) for shared in (False, True))
    shared.reserve(4)
    for buffer in shared.key_value:
        buffer.fill(POISON)
    try:
        for ids in ([1, 2], [3]):
            found = runner.run(shared, ids).copy()
            expected = runner.run(grown, ids)
            if not np.allclose(found, expected, rtol=1e-2, atol=1e-2):
                return _cannot('append keys and values in place', 'attention does not know how '
                               'many of them are valid')
    except LfmError as error:
        return _cannot('append keys and values in place', error.message)
    return True


def _cannot(what: str, why: str) -> bool:
    """Log that the graph cannot do something, which makes it slower or larger."""
    _log.info(f'this graph cannot {what} here: {why}')
    return False


def can_rollback(runner: Runner) -> bool:
    """
    Return whether the last tokens of a run can be rolled back as if they had not been read.

    Kernels that quantize all rows of a run by one scale cannot: there a row depends on the rows
    after it.
    """
    sig = runner.signature
    if not runner.shared or runner.head_pruned or runner.max_run_tokens == 1 or \
            sig.conv and not sig.history:
        return False
    try:
        past = next((n for n in PASTS if n + 3 <= runner.limit
                     and not _rows_stand_alone(runner, n)), None)
    except LfmError as error:
        return _cannot('take back tokens', error.message)
    if past is not None:
        _log.info('tokens are not drafted and missions not decoded together: with this graph and '
                  f'CPU a row of a run depends on the rows behind it (after {past} tokens)')
    return past is None


def _rows_stand_alone(runner: Runner, past: int) -> bool:
    """Return whether the first rows of a run are the same whatever rows follow them."""
    rng = np.random.default_rng(past)
    rows = min(SHORT, runner.limit - past)
    ids = rng.integers(1, runner.vocabulary, past + rows).tolist()
    first, second = runner.new_state(), runner.new_state()
    for state in (first, second):
        runner.run(state, ids[:past])
    mark = first.mark()
    all_rows = runner.run(second, ids[past:], every=True).copy()
    for count in (n for n in (2, 3, 5, 8) if n < rows):
        first.restore(mark)
        if not np.array_equal(runner.run(first, ids[past:past + count], every=True),
                              all_rows[:count]):
            return False
    runner.rollback(second, count)
    ours, theirs = second.arrays(), first.arrays()
    return all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def best_chunk(runner: Runner) -> int:
    """
    Return how many tokens of a prompt are best read in one run on a device.

    A GPU reads hundreds of tokens in the time of a few; each doubling must be worth its memory,
    and make other requests wait no longer than :data:`MAX_RUN_SECONDS`.
    """
    best, best_speed = PREFILL_CHUNK, 0.0
    size = PREFILL_CHUNK
    while size <= min(LARGEST_CHUNK, runner.limit):
        try:
            runner.run(runner.new_state(), [0] * size)  # memory is found and kernels are chosen
            seconds = min(_seconds(runner, size) for _ in range(2))
        except LfmError:  # there is no memory for that many
            break
        if size / seconds < best_speed * WORTH or seconds > MAX_RUN_SECONDS and best_speed:
            break
        best, best_speed = size, size / seconds
        size *= 2
    return best


def _seconds(runner: Runner, size: int) -> float:
    state = runner.new_state()
    state.reserve(size)
    started = time.monotonic()
    runner.run(state, [0] * size)
    return time.monotonic() - started


def replays(runner: Runner) -> bool:
    """Return whether decode steps in a lane give the same bits as runs with other addresses."""
    known = runner.capabilities
    states = [runner.new_state() for _ in range(2)]
    try:
        for state in states:
            runner.run(state, [1, 2, 3])
        for token in range(4, 10):  # both sets of conv states, captured and replayed
            runner.use(known)
            expected = runner.run(states[0], [token]).copy()
            runner.use(known._replace(captured=True))
            if not np.array_equal(runner.run(states[1], [token]), expected):
                return _cannot('be decoded in lanes', 'the logits are others there')
    except LfmError as error:
        return _cannot('be decoded in lanes', error.message)
    finally:
        runner.use(known)
    ours, theirs = (state.arrays() for state in states)
    return all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def rows_independent(runner: Runner) -> bool:
    """
    Return whether each state of a batch gets the logits that it would get alone.

    Batches are run in both orders: the bits show whether a lane reads the state of another one.
    """
    sizes = sorted({2, runner.max_batch_size})
    states = [runner.new_state() for _ in range(runner.max_batch_size)]
    tokens = [7 + place for place in range(len(states))]
    for place, state in enumerate(states):
        runner.run(state, [1 + place, 2, 3][:1 + place % 3])
    marks = [state.mark() for state in states]
    try:
        alone = []
        for state, mark, token in zip(states, marks, tokens):
            for next_token in (token, token + 20):  # what was bound once must be read again
                rows = [next_token] if runner.head_pruned else [next_token, 0]
                alone.append(runner.run(state, rows, every=True)[0].copy())
                state.restore(mark)
                runner.run(state, [token])
        for count in sizes:
            found = []
            for order in (1, -1):
                for state, mark in zip(states, marks):
                    state.restore(mark)
                some, steps = states[:count][::order], []
                for more in (0, 20):
                    logits = runner.decode_batch(some, [t + more for t in tokens[:count][::order]])
                    steps.append(logits[::order].copy())
                found.append(np.stack(steps, axis=1).reshape(2 * count, -1))
            first, second = found
            if not np.array_equal(first, second):
                return _cannot('decode missions together', 'the order changes their logits')
            for row, expected in zip(first, alone):
                if not np.linalg.norm(row - expected) <= NEAR * np.linalg.norm(expected):
                    return _cannot('decode missions together', 'each gets the logits of another')
    except LfmError as error:
        return _cannot('decode missions together', error.message)
    finally:
        runner.release_batch()
    return True
