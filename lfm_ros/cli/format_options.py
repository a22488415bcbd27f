# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options of `ask` for structured output and tools."""
from __future__ import annotations

import argparse
from typing import Any

from lfm_ros.cli.inputs import JSON
from lfm_ros.cli.inputs import LARK
from lfm_ros.cli.inputs import text_or_file
from lfm_ros.cli.output import print_text
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.engine.text.tools import AUTO
from lfm_ros.engine.text.tools import from_json
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.serving.answer import Answer


def add_format_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how an answer must look, and which functions it may call."""
    parser.add_argument('--schema', default='', metavar='JSON', help='JSON schema of the answer, '
                        'or a file with one')
    parser.add_argument('--regex', default='', help='regular expression that the whole answer '
                        'matches')
    parser.add_argument('--choice', action='append', nargs='+', default=[], metavar='TEXT',
                        help='the answer is one of these texts')
    parser.add_argument('--logprobs', action='store_true', help='with --choice: print how likely '
                        'each one is')
    parser.add_argument('--grammar', default='', metavar='LARK', help='grammar of the answer in '
                        "llguidance's variant of Lark, or a file with one")
    parser.add_argument('--tools', default='', metavar='JSON', help='JSON list of functions that '
                        'the model may call (name, description, parameters), or a file with one')
    parser.add_argument('--tool-choice', default=AUTO, metavar='CHOICE', help='auto, none, '
                        'required, or the name of a tool')
    parser.add_argument('--tool-result', action='append', nargs=2, default=[],
                        metavar=('NAME', 'TEXT'), help='result of a function that the last answer '
                        'called; may be repeated')
    parser.add_argument('--raw', action='store_true', help='continue the text as it is, without '
                        'chat template and mission')
    parser.add_argument('--suffix', default='', metavar='TEXT', help='with --raw: text after the '
                        'answer (models with fill-in-the-middle)')


def format_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a query that these options set."""
    schema, grammar, tools = (
        text_or_file(value, option, text_like) if value else '' for value, option, text_like in (
            (arguments.schema, '--schema', JSON), (arguments.grammar, '--grammar', LARK),
            (arguments.tools, '--tools', JSON)))
    return {'response_format': ResponseFormat(schema, arguments.regex, tuple(arguments.choice),
                                              grammar, arguments.logprobs),
            'tools': tuple(from_json(tools)) if tools else (),
            'tool_choice': arguments.tool_choice,
            'results': tuple(ToolResult(*pair) for pair in arguments.tool_result),
            'raw': arguments.raw, 'suffix': arguments.suffix}


def print_calls(answer: Answer, choices: list[str]) -> None:
    """Print the functions that are called, and how likely the choices were."""
    for call in answer.tool_calls:
        print_text(f'{call.name}({call.arguments})')
    for choice, logprob in zip(choices, answer.choice_logprobs):
        print_text(f'{logprob:10.4f}  {choice}')
