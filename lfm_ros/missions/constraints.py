# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the answer to a query may be."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.engine.grammar_source import GrammarSource
from lfm_ros.engine.grammar_worker import GRAMMAR
from lfm_ros.engine.model import Model
from lfm_ros.engine.tools import AUTO
from lfm_ros.engine.tools import NONE
from lfm_ros.engine.tools import refusal
from lfm_ros.engine.tools import REQUIRED
from lfm_ros.engine.tools import Tool
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.missions.request import Query


class GrammarPending(Exception):
    """The grammar of an answer is not compiled yet."""


def grammar_source(query: Query, tools: Sequence[Tool], model: Model) -> GrammarSource | None:
    """
    Return what the answer to a query may be; None: anything.

    :param tools: those of the mission, or that the query gives it.
    :raises LfmError: INVALID_TOOL, UNSUPPORTED.
    """
    choice = query.tool_choice
    if query.form.name:
        # A choice by its probability is made before anything is written.
        return None if query.form.choice_logprobs else GrammarSource.of(query.form)
    if not tools and choice in (AUTO, NONE):
        return None
    if choice not in (AUTO, NONE, REQUIRED, *(tool.name for tool in tools)):
        known = few(tool.name for tool in tools) or 'none'
        raise refusal(f'tool_choice is {choice!r}: set it to {AUTO}, {NONE}, {REQUIRED} or the '
                      f'name of a tool of the mission, which are {known}')
    if not tools:
        raise refusal(f'tool_choice is {choice!r} and the mission has no tools: send tools')
    if model.calling is None:
        raise LfmError(ErrorCode.UNSUPPORTED, f'{model.name} was not made to call tools, its '
                       'tokenizer has no token for that: send no tools')
    return GrammarSource(GRAMMAR, model.calling.grammar(tools, choice), 'tools')
