# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What may stand in an answer, as text for the library that compiles it."""
from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import json

from lfm_ros.engine.grammar.worker import GRAMMAR
from lfm_ros.engine.grammar.worker import JSON_SCHEMA
from lfm_ros.engine.grammar.worker import REGEX
from lfm_ros.engine.text.response_format import ResponseFormat


@dataclass(frozen=True)
class GrammarSource:
    """
    What may stand in an answer.

    :param kind: :data:`JSON_SCHEMA`, :data:`REGEX` or :data:`GRAMMAR` (Lark).
    :param name: its name in errors.
    """

    kind: str
    text: str
    name: str = field(default='grammar', compare=False)

    @classmethod
    def of(cls, response_format: ResponseFormat) -> GrammarSource:
        """Return the source of a response format that is not empty."""
        name = response_format.name
        if response_format.json_schema:
            return cls(JSON_SCHEMA, response_format.json_schema, name)
        if response_format.regex:
            return cls(REGEX, response_format.regex, name)
        if response_format.choices:
            choices = (json.dumps(text, ensure_ascii=False) for text in response_format.choices)
            return cls(GRAMMAR, 'start: ' + ' | '.join(choices), name)
        return cls(GRAMMAR, response_format.grammar, name)
