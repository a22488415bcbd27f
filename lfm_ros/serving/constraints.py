# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which grammar the answer to a query must match."""
from __future__ import annotations

from collections.abc import Sequence

from lfm_ros.engine.grammar.source import GrammarSource
from lfm_ros.engine.model import Model
from lfm_ros.engine.text.tools import AUTO
from lfm_ros.engine.text.tools import NONE
from lfm_ros.engine.text.tools import REQUIRED
from lfm_ros.engine.text.tools import Tool
from lfm_ros.engine.text.tools import tool_error
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.serving.query import Query


class GrammarPending(Exception):
    """The grammar of an answer is not compiled yet."""


def grammar_source(query: Query, tools: Sequence[Tool], model: Model) -> GrammarSource | None:
    """
    Return what the answer to a query may be; None: anything.

    :param tools: those of the mission, or that the query gives it.
    :raises LfmError: INVALID_TOOL, UNSUPPORTED.
    """
    choice = query.tool_choice
    if query.response_format.name:
        # A choice by its probability is made before anything is written.
        return None if query.response_format.choice_logprobs else \
            GrammarSource.of(query.response_format)
    if not tools and choice in (AUTO, NONE):
        return None
    if choice not in (AUTO, NONE, REQUIRED, *(tool.name for tool in tools)):
        known = few(tool.name for tool in tools) or 'none'
        raise tool_error(f'tool_choice is {choice!r}: set it to {AUTO}, {NONE}, {REQUIRED} or the '
                         f'name of a tool of the mission, which are {known}')
    if not tools:
        raise tool_error(f'tool_choice is {choice!r} and the mission has no tools: send tools')
    if model.tool_format is None:
        raise LfmError(ErrorCode.UNSUPPORTED, f'{model.name} does not support tool calling, its '
                       'tokenizer has no token for it: send no tools')
    return GrammarSource.of_tools(model.tool_format, tools, choice)
