# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What an answer may be, as text for the library that compiles it."""
from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import json

from lfm_ros.engine.form import Form
from lfm_ros.engine.grammar_worker import GRAMMAR
from lfm_ros.engine.grammar_worker import JSON_SCHEMA
from lfm_ros.engine.grammar_worker import REGEX


@dataclass(frozen=True)
class GrammarSource:
    """
    What an answer may be.

    :param kind: :data:`JSON_SCHEMA`, :data:`REGEX` or :data:`GRAMMAR` (Lark).
    :param name: how errors call it.
    """

    kind: str
    text: str
    name: str = field(default='grammar', compare=False)

    @classmethod
    def of(cls, form: Form) -> GrammarSource:
        """Return the source of a form that is not empty."""
        if form.json_schema:
            return cls(JSON_SCHEMA, form.json_schema, form.name)
        if form.regex:
            return cls(REGEX, form.regex, form.name)
        if form.choices:
            choices = (json.dumps(choice, ensure_ascii=False) for choice in form.choices)
            return cls(GRAMMAR, 'start: ' + ' | '.join(choices), form.name)
        return cls(GRAMMAR, form.grammar, form.name)
