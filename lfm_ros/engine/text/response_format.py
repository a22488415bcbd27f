# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The response format of an answer, as a request gives it."""
from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Any

from lfm_ros.engine.text.json_format import MAX_NESTING
from lfm_ros.engine.text.json_format import too_deep
from lfm_ros.engine.text.json_schema import is_foreign
from lfm_ros.engine.text.json_schema import unwrapped
from lfm_ros.engine.text.json_schema import without_nulls
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError

MAX_LENGTH = 1 << 16  # characters of a schema, a regular expression or a grammar
MAX_CHOICES = 256
MAX_CHOICE_LENGTH = 1024


@dataclass(frozen=True)
class ResponseFormat:
    """
    One of these, or none for free text.

    :param json_schema: a JSON schema, as JSON.
    :param regex: a regular expression that the whole answer matches, in the syntax of Rust's
        crate ``regex``.
    :param choices: the answer is one of these texts.
    :param grammar: a grammar in llguidance's variant of Lark.
    :param choice_logprobs: also give the log-probability of each choice.
    """

    json_schema: str = ''
    regex: str = ''
    choices: tuple[str, ...] = ()
    grammar: str = ''
    choice_logprobs: bool = False

    @property
    def name(self) -> str:
        """Return how errors name what is set; empty for free text."""
        return 'JSON schema' if self.json_schema else 'regular expression' if self.regex else \
            'list of choices' if self.choices else 'grammar' if self.grammar else ''

    def check(self) -> None:
        """
        Refuse what no model could answer in.

        :raises LfmError: INVALID_FORMAT.
        """
        given = [bool(f) for f in (self.json_schema, self.regex, self.choices, self.grammar)]
        if sum(given) > 1:
            raise _format_error('has several of json_schema, regex, choices and grammar: set one')
        if self.choice_logprobs and not self.choices:
            raise _format_error('wants choice_logprobs without choices: list the choices')
        for text in (self.json_schema, self.regex, self.grammar):
            check_text(text, self.name)
            if len(text) > MAX_LENGTH:
                raise _format_error(f'has a {self.name} of {len(text)} characters: send '
                                    f'{MAX_LENGTH} at most')
        if len(self.choices) > MAX_CHOICES:
            raise _format_error(f'has {len(self.choices)} choices: send {MAX_CHOICES} at most')
        for choice in self.choices:
            check_text(choice, 'choice')
            if not choice or len(choice) > MAX_CHOICE_LENGTH:
                raise _format_error(f'has a choice of {len(choice)} characters: use 1 to '
                                    f'{MAX_CHOICE_LENGTH}')
        if len(set(self.choices)) < len(self.choices):
            raise _format_error('has the same choice twice: list each once')
        if self.json_schema:
            parse_schema(self.json_schema)


def parse_schema(text: str) -> Any:
    """
    Return the schema in a JSON text, without what OpenAI's interface has around it.

    :raises LfmError: INVALID_FORMAT.
    """
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _format_error(f'has a JSON schema that is not JSON ({error}): correct it') from error
    if not isinstance(schema, (dict, bool)):
        raise _format_error('has a JSON schema that is not an object: send one such as '
                            '{"type": "object"}')
    if too_deep(schema):
        raise _format_error(f'has a JSON schema that nests more than {MAX_NESTING} levels deep: '
                            'flatten it, with $defs and $ref for instance')
    schema = unwrapped(schema)
    if is_foreign(without_nulls(schema)):
        raise _format_error('has a JSON schema with no keyword of JSON Schema, but '
                            f'{few(schema)}: send one such as {{"type": "object"}}')
    return schema


def _format_error(reason: str) -> LfmError:
    return LfmError(ErrorCode.INVALID_FORMAT, f'response_format {reason}')
