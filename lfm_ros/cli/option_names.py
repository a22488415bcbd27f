# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
The names of options in sentences that were written for the node.

The engine and the missions name parameters of the node and fields of a query. Who uses the command
has neither, but options.
"""
from __future__ import annotations

from itertools import cycle
import re

PARAMETERS = {
    'model.path': 'MODEL', 'model.variant': '--variant', 'model.providers': '--provider',
    'model.provider_options': '--provider-option', 'model.threads': '--threads',
    'model.cores': '--cores', 'model.context_length': '--context',
    'missions.dir': '--missions-dir', 'missions.key_file': '--key-file',
    'missions.overflow': '--overflow', 'image.max_tokens': '--image-tokens'}
FIELDS = {name: '--' + name.replace('_', '-') for name in (
    'temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', 'seed', 'max_tokens',
    'timeout', 'tool_choice', 'suffix', 'raw')}
FORMATS = {'JSON schema': '--schema', 'regular expression': '--regex',
           'list of choices': '--choice', 'grammar': '--grammar'}
# The command has no option for these.
OF_THE_NODE = ('model.run_timeout', 'model.prepare', 'image.variant',
               'missions.strict_permissions')

_NAMES = {**PARAMETERS, **FIELDS, **{name: f'{name} of the node' for name in OF_THE_NODE}}
# Before names are replaced; what the command cannot be given is left out.
_PHRASES = (('response_format has several of json_schema, regex, choices and grammar',
             'several of --schema, --regex, --choice and --grammar are given'),
            ('response_format wants choice_logprobs without choices',
             '--logprobs is given without --choice'),
            (' of response_format', ' of the answer'), (' and no use_camera', ''),
            ('and stop are both set', 'and --stop are both set'),
            ('leave stop empty', 'leave --stop out'))
_NAME = re.compile(r"""(?<![-\w.'"/])(?:[a-z]+\.)?[a-z_]+(?![-\w'"/]|\.\w| of the node)""")
_QUOTED = re.compile(r"""((?<!\w)'[^']*'(?!\w)|"[^"]*")""")
_OPTIONAL = re.compile(r'leave (--[a-z-]+(?: and --[a-z-]+)*) empty')


def with_option_names(sentence: str, given: str = '') -> str:
    """
    Return a sentence with the options of the command in place of the node's names.

    What stands in quotes, in a path or before "of the node" stays.

    :param given: the name of the ``ResponseFormat`` of the answer; empty: none.
    """
    for phrase, other in _PHRASES:
        sentence = sentence.replace(phrase, other)
    names = {**_NAMES, 'response_format': FORMATS.get(given, 'the format of the answer')}
    sentence = ''.join(part if quoted else _NAME.sub(
        lambda match: names.get(match[0], match[0]), part)
        for part, quoted in zip(_QUOTED.split(sentence), cycle((False, True))))
    return _OPTIONAL.sub(r'leave \1 out', sentence)
