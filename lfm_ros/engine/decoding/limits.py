# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long an answer may be, and what may stand in it."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lfm_ros.engine.grammar.matcher import Matcher
from lfm_ros.engine.text.tools import Tool


@dataclass(frozen=True)
class Limits:
    """
    When an answer ends, beside the model's own end tokens.

    :param max_tokens: longest answer in tokens.
    :param stop: texts before which it ends.
    :param reserve_tokens: tokens of the context that must stay free behind the answer.
    """

    max_tokens: int = 256
    stop: Sequence[str] = ()
    reserve_tokens: int = 0


@dataclass(frozen=True)
class Constraints:
    """
    What may stand in an answer.

    :param matcher: holds it to a response format or to well-formed tool calls; None: it is free.
    :param tools: what the model may call; its calls are then no part of the text.
    """

    matcher: Matcher | None = None
    tools: Sequence[Tool] = ()
