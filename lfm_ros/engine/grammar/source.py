# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What may stand in an answer, as text for the library that compiles it."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
import json

from lfm_ros.engine.grammar.worker import GRAMMAR
from lfm_ros.engine.grammar.worker import JSON_SCHEMA
from lfm_ros.engine.grammar.worker import REGEX
from lfm_ros.engine.grammar.worker import TOOLS
from lfm_ros.engine.text.json_schema import for_grammar
from lfm_ros.engine.text.response_format import parse_schema
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.tool_format import ToolCallFormat
from lfm_ros.engine.text.tools import Tool


@dataclass(frozen=True)
class GrammarSource:
    """
    What may stand in an answer.

    :param kind: :data:`JSON_SCHEMA`, :data:`REGEX`, :data:`GRAMMAR` (Lark) or :data:`TOOLS`.
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
            return cls(JSON_SCHEMA, _schema(response_format.json_schema), name)
        if response_format.regex:
            return cls(REGEX, response_format.regex, name)
        if response_format.choices:
            choices = (json.dumps(text, ensure_ascii=False) for text in response_format.choices)
            return cls(GRAMMAR, 'start: ' + ' | '.join(choices), name)
        return cls(GRAMMAR, response_format.grammar, name)

    @classmethod
    def of_tools(cls, tool_format: ToolCallFormat, tools: Sequence[Tool], choice: str
                 ) -> GrammarSource:
        """
        Return the source of an answer that may call tools.

        :param choice: see :meth:`ToolCallFormat.grammar`.
        :raises LfmError: INVALID_TOOL.
        """
        parts, schemas = [], tool_format.schemas(tools, choice)
        for name, call in schemas.items():
            parts += [(f'the parameter {told} of the tool {name}', call.argument(told))
                      for told in call.arguments['properties']]
            parts.append((f'the tool {name}', call.in_json))
        return cls(TOOLS, json.dumps({'grammar': tool_format.grammar(tools, choice, schemas),
                                      'parts': parts}, ensure_ascii=False), 'tools')


def _schema(text: str) -> str:
    """Return a schema of which a grammar can be made; where it is one, as it was sent."""
    given = parse_schema(text)
    schema = for_grammar(given)
    same = schema == json.loads(text)
    return text if same else json.dumps(schema, ensure_ascii=False)
