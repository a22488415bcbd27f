# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much memory missions may take, so that the process stays within its budget."""
from __future__ import annotations

from dataclasses import replace
import logging

from lfm_ros.conversation.restore_points import MAX_RESTORE_POINTS
from lfm_ros.engine.model import Model
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import available_bytes
from lfm_ros.process import forget_peak
from lfm_ros.process import peak_bytes
from lfm_ros.process import rss_bytes
from lfm_ros.serving.retention import RetentionPolicy

MB = 1 << 20
AUTO_BUDGET = -1
# Of what is available once the model is open; the rest is for the other nodes of the robot.
AUTO_SHARE = 0.5
# For what comes and goes beside the states: segments of checkpoints while they are written or
# read, messages, the log's cache. Measured: bench/budget.py.
MARGIN = 32 * MB
MIN_HOST_BYTES = 1 * MB  # of a mission whose state is on a device
MIN_TOKENS = 512  # a budget in which no mission can get so long is of no use
# Of the process that compiles and matches grammars: of itself and per token of the vocabulary.
# Measured: 25 MB with 2,816 tokens, 80 MB with 65,536.
GRAMMAR_ENGINE_BYTES = 24 * MB
GRAMMAR_BYTES_PER_TOKEN = 1024
# The least that compiling one grammar gets; what is free beyond it may be used as well.
GRAMMAR_BYTES = 24 * MB

_log = logging.getLogger(__name__)


def grammar_engine_bytes(model: Model) -> int:
    """Return the memory of the process that holds answers of a model to a form."""
    return GRAMMAR_ENGINE_BYTES + GRAMMAR_BYTES_PER_TOKEN * model.vocabulary


def in_mb(count: float) -> str:
    """Return bytes as a number of megabytes."""
    return f'{count / MB:.1f}' if count < 10 * MB else f'{count / MB:.0f}'


def with_budgets(retention: RetentionPolicy, model: Model, budget_mb: int, device_budget_mb: int,
                 free_before: int | None) -> RetentionPolicy:
    """
    Return a policy with the limits that follow from the budgets of the process and the device.

    :param free_before: free memory of the device before the model was opened; None: unknown.
    :raises LfmError: BUDGET_TOO_SMALL, with the arithmetic.
    """
    memory, shared = model.memory, 0
    if device_budget_mb and memory.separate:
        retention = replace(retention, device_bytes_limit=device_budget(
            model, device_budget_mb, free_before))
    if budget_mb and memory.on_device and not memory.separate:
        shared = _taken_on_device(model, free_before)
    if budget_mb:
        retention = replace(retention, state_bytes_limit=mission_budget(
            model, budget_mb, shared))
    return retention


def mission_budget(model: Model, budget_mb: int, shared_device_bytes: int = 0) -> int:
    """
    Return the bytes that all states may take together; 0: no limit is known.

    The model is run once at the very end of a context: what it needs then it will not need later
    on top of what the process holds now.

    :param budget_mb: :data:`AUTO_BUDGET`: what is taken then, and a share of what is available.
    :param shared_device_bytes: what the model takes of the host's memory through a device, which
        is no part of the RSS.
    :raises LfmError: BUDGET_TOO_SMALL, with the arithmetic.
    """
    model.probe_peak_memory()
    taken = rss_bytes() + shared_device_bytes
    if model.vision:
        # What it needs while it encodes is given back then, and would be missing the next time.
        forget_peak()
        model.vision.probe_peak_memory()
        taken = max(taken, peak_bytes() + shared_device_bytes)
        model.vision.release_idle()
    least = _least_bytes(model)
    if model.memory.separate:
        least = MIN_HOST_BYTES  # its state is elsewhere
    if budget_mb < 0:
        return _automatic(taken, 2 * least)
    available = budget_mb * MB - taken - MARGIN
    if available < 2 * least:  # the system prompt has a state, too
        wanted = (taken + MARGIN + 2 * least) // MB + 1
        raise LfmError(ErrorCode.BUDGET_TOO_SMALL, f'memory.budget_mb is {budget_mb}, but the '
                       f'process takes {in_mb(taken)} MB with this model, {in_mb(MARGIN)} MB are '
                       f'kept free and two missions of {MIN_TOKENS} tokens take '
                       f'{in_mb(2 * least)} MB: set it to {wanted} or more, or use a smaller '
                       'model')
    return available


def _automatic(taken: int, least: int) -> int:
    """Return the bytes that states may take when no budget is set."""
    free = available_bytes()
    if free is None:
        _log.warning('the available memory is not known here, so missions have no memory limit: '
                     'set memory.budget_mb')
        return 0
    found = int(free * AUTO_SHARE) - MARGIN
    if found < least:
        raise LfmError(ErrorCode.BUDGET_TOO_SMALL, f'{in_mb(free)} MB of memory are available '
                       f'with this model open, of which missions may take {AUTO_SHARE:.0%}, '
                       f'{in_mb(MARGIN)} MB are kept free and two missions of {MIN_TOKENS} tokens '
                       f'take {in_mb(least)} MB: free memory, use a smaller model, or set '
                       'memory.budget_mb (0: no limit)')
    _log.info(f'memory.budget_mb is {(taken + MARGIN + found) // MB} (auto): {in_mb(taken)} MB '
              f'are taken with the model open, and {AUTO_SHARE:.0%} of the {in_mb(free)} MB that '
              'are then available')
    return found


def device_budget(model: Model, budget_mb: int, free_before: int | None) -> int:
    """
    Return the bytes that all states may take together on a device with memory of its own.

    :param free_before: its free memory before the model was opened; None: unknown, then only its
        lanes are known to be taken beside the states.
    :raises LfmError: BUDGET_TOO_SMALL, with the arithmetic.
    """
    model.probe_peak_memory()
    taken = max(model.runner.lanes_nbytes, _taken_on_device(model, free_before))
    least = _least_bytes(model)
    available = budget_mb * MB - taken
    if available < 2 * least:
        wanted = (taken + 2 * least) // MB + 1
        raise LfmError(ErrorCode.BUDGET_TOO_SMALL, f'memory.device_budget_mb is {budget_mb}, but '
                       f'the model takes {in_mb(taken)} MB on the device and two missions of '
                       f'{MIN_TOKENS} tokens take {in_mb(2 * least)} MB: set it to {wanted} or '
                       'more, lower queue.parallel or model.context_length, or use a smaller '
                       'model')
    return available


def _taken_on_device(model: Model, free_before: int | None) -> int:
    """Return the bytes that the model took of the device since then; 0 where that is unknown."""
    model.warm_up()  # its lanes are taken from now on
    free = model.memory.free_bytes()
    return max(0, free_before - free) if free is not None and free_before is not None else 0


def _least_bytes(model: Model) -> int:
    """Return the bytes of a mission of :data:`MIN_TOKENS`."""
    state = model.new_state()
    return state.nbytes_at(min(MIN_TOKENS, model.context_length)) + mark_bytes(model)


def mark_bytes(model: Model) -> int:
    """Return the most that the marks of one mission take."""
    return MAX_RESTORE_POINTS * sum(t.row_bytes for t in model.signature.conv)
