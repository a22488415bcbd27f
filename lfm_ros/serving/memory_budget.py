# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much memory missions may take, so that the process stays within its budget."""
from __future__ import annotations

from lfm_ros.conversation.restore_points import MAX_RESTORE_POINTS
from lfm_ros.engine.model import Model
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import forget_peak
from lfm_ros.process import peak_bytes
from lfm_ros.process import rss_bytes

MB = 1 << 20
# For what comes and goes beside the states: segments of checkpoints while they are written or
# read, messages, the log's cache. Measured: bench/budget.py.
MARGIN = 32 * MB
MIN_TOKENS = 512  # a budget in which no mission can get so long is of no use
# Of the process that compiles and matches grammars: of itself and per token of the vocabulary.
# Measured: 25 MB with 2,816 tokens, 80 MB with 65,536.
GRAMMAR_ENGINE_BYTES = 24 * MB
GRAMMAR_BYTES_PER_TOKEN = 1024
# The least that compiling one grammar gets; what is free beyond it may be used as well.
GRAMMAR_BYTES = 24 * MB


def grammar_engine_bytes(model: Model) -> int:
    """Return the memory of the process that holds answers of a model to a form."""
    return GRAMMAR_ENGINE_BYTES + GRAMMAR_BYTES_PER_TOKEN * model.vocabulary


def in_mb(count: float) -> str:
    """Return bytes as a number of megabytes."""
    return f'{count / MB:.1f}' if count < 10 * MB else f'{count / MB:.0f}'


def mission_budget(model: Model, budget_mb: int) -> int:
    """
    Return the bytes that all states may take together.

    The model is run once at the very end of a context: what it needs then it will not need later
    on top of what the process holds now.

    :raises LfmError: BUDGET_TOO_SMALL, with the arithmetic.
    """
    model.probe_peak_memory()
    taken, budget = rss_bytes(), budget_mb * MB
    if model.vision:
        # What it needs while it encodes is given back then, and would be missing the next time.
        forget_peak()
        model.vision.probe_peak_memory()
        taken = max(taken, peak_bytes())
        model.vision.release_idle()
    state = model.new_state()
    least = state.nbytes_at(min(MIN_TOKENS, model.context_length)) + mark_bytes(model)
    available = budget - taken - MARGIN
    if available < 2 * least:  # the system prompt has a state, too
        wanted = (taken + MARGIN + 2 * least) // MB + 1
        raise LfmError(ErrorCode.BUDGET_TOO_SMALL, f'memory.budget_mb is {budget_mb}, but the '
                       f'process takes {in_mb(taken)} MB with this model, {in_mb(MARGIN)} MB are '
                       f'kept free and two missions of {MIN_TOKENS} tokens take '
                       f'{in_mb(2 * least)} MB: set it to {wanted} or more, or use a smaller '
                       'model')
    return available


def mark_bytes(model: Model) -> int:
    """Return the most that the marks of one mission take."""
    return MAX_RESTORE_POINTS * sum(t.row_bytes for t in model.signature.conv)
