# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Chat templates: which tokens stand around the texts of user and model."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import json
import re
from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.files.folder import TOOL_TEMPLATE
from lfm_ros.engine.files.model_file import MAX_TEMPLATE_BYTES
from lfm_ros.engine.files.model_file import read_text
from lfm_ros.engine.text.template_process import RenderError
from lfm_ros.engine.text.template_process import SHARED
from lfm_ros.engine.text.tokenizer import Tokenizer
from lfm_ros.engine.text.tool_format import ToolCallFormat
from lfm_ros.engine.text.tools import from_json
from lfm_ros.engine.text.tools import to_json
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote

# What LFM2 uses; for folders whose tokenizer has its tokens but whose template was not copied.
CHATML = ("{{- bos_token -}}{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' + "
          "m.content + '<|im_end|>\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}"
          "{{- '<|im_start|>assistant\\n' -}}{%- endif -%}")

_TOOL_USE = 'tool_use'  # name of the template for missions with tools, where there are several
_PLACEHOLDER = re.compile('\ue000(\\d+)\ue001')  # stands in the template for text from outside
_TOOL_PLACEHOLDERS = 100  # number of the first one in the description of tools
_PLACEHOLDER_MARK = re.compile('[\ue000\ue001]')


@dataclass(frozen=True)
class ChatMarkup:
    """
    Token ids around the contents of a conversation.

    A conversation is the preamble, then for every turn ``user_prefix``, the user's text,
    ``assistant_prefix``, the model's tokens, ``assistant_suffix``.
    """

    user_prefix: tuple[int, ...]
    assistant_prefix: tuple[int, ...]
    assistant_suffix: tuple[int, ...]


@dataclass(frozen=True)
class ToolMarkup:
    """
    Token ids around the results of tools.

    :param open: before the first result, behind an answer; ``open_in_user`` behind words of the
        user.
    :param next: between two results.
    :param to_user: between the last one and words of the user, ``to_answer`` the answer.
    """

    open: tuple[int, ...]
    open_in_user: tuple[int, ...]
    next: tuple[int, ...]
    to_user: tuple[int, ...]
    to_answer: tuple[int, ...]


class ChatTemplate:
    """
    A Jinja chat template, run in a sandbox in another process.

    :param source: Jinja, as in tokenizer_config.json.
    :param tokens: special tokens by name, such as ``bos_token``.
    :param tool_source: of another template, for missions with tools; empty: there is none.
    :ivar dated: whether it asks for the time, so that its text changes.
    """

    def __init__(self, source: str, tokens: dict[str, str], tokenizer: Tokenizer,
                 tool_source: str = '') -> None:
        self._tokens = tokens
        self._tool_source = tool_source
        self._tokenizer = tokenizer
        self._tool_format = ToolCallFormat.find(tokenizer)
        try:
            if not isinstance(source, str) or len(source) > MAX_TEMPLATE_BYTES:
                raise ValueError('it is no text, or longer than 1 MiB')
            self._source = source.removeprefix('\ufeff')
            self.dated = 'strftime_now' in source
            self.markup, self._default_preamble = self._split()
        except (RenderError, ValueError) as error:
            raise _invalid(error) from error

    @classmethod
    def open(cls, folder: ModelFolder, tokenizer: Tokenizer) -> ChatTemplate:
        """Read the template of a model folder."""
        settings = folder.read_json('tokenizer_config.json')
        source: Any = _read(folder, 'chat_template.jinja') or settings.get('chat_template') or \
            folder.read_json('chat_template.json').get('chat_template')
        if isinstance(source, list):  # several templates by name
            source = {t.get('name'): t.get('template') for t in source if isinstance(t, dict)}
        for_tools: Any = _read(folder, TOOL_TEMPLATE)
        if isinstance(source, dict):
            for_tools = for_tools or source.get(_TOOL_USE)
            source = source.get('default') or next(iter(source.values()), None)
        if not source and tokenizer.id_of('<|im_start|>') is not None:
            source = CHATML
        if not source:
            raise LfmError(ErrorCode.TEMPLATE_INVALID, f'{folder.root} has no chat template: add '
                           'the chat_template.jinja of the model')
        tokens = {}
        for name, value in settings.items():
            text = value.get('content') if isinstance(value, dict) else value
            if name.endswith('_token') and isinstance(text, str):
                tokens[name] = text
        if 'bos_token' not in tokens and tokenizer.id_of('<|startoftext|>') is not None:
            tokens['bos_token'] = '<|startoftext|>'
        return cls(source, tokens, tokenizer, for_tools or '')

    def preamble(self, system_prompt: str = '', tools: str = '') -> list[int]:
        """
        Return the ids before the first turn.

        :param system_prompt: empty: what the template puts there by itself.
        :param tools: tools that the model may call, as JSON of
            :mod:`lfm_ros.engine.text.tools`.
        :raises LfmError: TEMPLATE_INVALID; UNSUPPORTED when it leaves out tools.
        """
        if tools and self._with_tools is not self:
            return self._with_tools.preamble(system_prompt, tools)
        if not (system_prompt or tools or self.dated):
            return list(self._default_preamble)
        messages = [*([_message('system', 0)] if system_prompt else []), _message('user', 1)]
        try:
            ids = self._preamble_of(messages, system_prompt, tools)
            shows_tools = not tools or ids != self._preamble_of(messages, system_prompt)
        except (RenderError, ValueError) as error:
            if tools:
                raise _cannot_call(f'it fails with them: {quote(error)}') from error
            raise _invalid(error, 'with a system prompt' if system_prompt else '') from error
        if not shows_tools:
            raise _cannot_call('it leaves them out')
        return ids

    @cached_property
    def _with_tools(self) -> ChatTemplate:
        """
        The template for missions with tools.

        :raises LfmError: TEMPLATE_INVALID, UNSUPPORTED.
        """
        if not self._tool_format:
            raise LfmError(ErrorCode.UNSUPPORTED, 'this model does not support tool calling, its '
                           'tokenizer has no token for it: send no tools')
        if not self._tool_source:
            return self
        other = ChatTemplate(self._tool_source, self._tokens, self._tokenizer)
        if other.markup != self.markup:
            raise _cannot_call('the one for tools puts other tokens around questions and answers')
        return other

    @cached_property
    def tool_markup(self) -> ToolMarkup:
        """
        What stands around the results of tools.

        :raises LfmError: UNSUPPORTED.
        """
        if self._with_tools is not self:
            return self._with_tools.tool_markup
        encode, close = self._tokenizer.encode_control, self.markup.assistant_suffix
        user, answer = _message('user', 1), _message('assistant', 2)
        first, second = _message('tool', 3), _message('tool', 4)
        try:
            parts = self._parts([user, answer, first, second, _message('user', 5)])[0]
            opened, following, to_user = map(tuple, map(encode, parts[2:5]))
            to_answer = tuple(encode(self._parts([user, answer, first])[0][3]))
            in_user = tuple(encode(self._parts([user, answer, _message('user', 3),
                                                _message('tool', 4)])[0][3]))
            if opened[:len(close)] != close:
                raise ValueError('it closes an answer differently when a result follows')
        except (RenderError, ValueError) as error:
            raise _cannot_call(f'it fails with their results: {quote(error)}') from error
        return ToolMarkup(opened[len(close):], in_user, following, to_user, to_answer)

    def _split(self) -> tuple[ChatMarkup, list[int]]:
        """Find the markup by rendering two turns with placeholders instead of texts."""
        encode = self._tokenizer.encode_control
        talk = [_message('user', 1), _message('assistant', 2), _message('user', 3)]
        after_answer, assistant_prefix = map(encode, self._parts(talk)[0][2:])
        # What stands between two turns closes the answer, then opens the question. At the end
        # of a conversation the answer is closed likewise, but more may follow (Phi-4-mini).
        at_end = encode(self._parts(talk[:2], prompt=False)[0][2])
        close = _common_start(after_answer, at_end)
        if not close:
            raise ValueError('it closes a past answer differently when a question follows')
        self._user_prefix = after_answer[close:]
        markup = ChatMarkup(tuple(self._user_prefix), tuple(assistant_prefix),
                            tuple(after_answer[:close]))
        return markup, self._preamble_of(talk[:1])

    def _preamble_of(self, messages: list[dict[str, str]], system_prompt: str = '',
                     tools: str = '') -> list[int]:
        """Return the ids of all that comes before the prefix of the question, the last message."""
        described, texts = self._describe(tools)
        texts[0] = system_prompt
        parts, placeholders = self._parts(messages, tools=described)
        tokenizer, prefix = self._tokenizer, self._user_prefix
        outside = [texts[number] for number in placeholders[:-1]]
        around = [tokenizer.encode_control(part) for part in parts[:-1]]
        ids = around[0] + [i for text, own in zip(outside, around[1:])
                           for i in (*tokenizer.encode(text), *own)]
        if not any(map(tokenizer.has_control, outside)):
            # Read in one piece, so that tokens which lie across the seams are found.
            whole = tokenizer.encode_control(
                parts[0] + ''.join(text + part for text, part in zip(outside, parts[1:])))
            controls = [[i for i in some if i in tokenizer.control_ids] for some in (whole, ids)]
            if controls[0] == controls[1] and whole[len(whole) - len(prefix):] == prefix:
                ids = whole
        start = len(ids) - len(prefix)
        if ids[start:] != prefix:
            raise ValueError('it opens the first question differently from later ones')
        return ids[:start]

    def _describe(self, tools: str) -> tuple[list[Any] | None, dict[int, str]]:
        """
        Return tools as a template takes them, and the texts of their placeholders.

        A text in them becomes a placeholder when the tokenizer would find control tokens in it.
        """
        texts: dict[int, str] = {}

        def shown(value: Any) -> Any:
            if isinstance(value, dict):
                return {shown(name): shown(each) for name, each in value.items()}
            if isinstance(value, list):
                return [shown(each) for each in value]
            if isinstance(value, str) and (_PLACEHOLDER_MARK.search(value)
                                           or self._tokenizer.has_control(value)):
                number = _TOOL_PLACEHOLDERS + len(texts)
                texts[number] = json.dumps(value, ensure_ascii=False)[1:-1]
                return _placeholder(number)
            return value

        if not tools:
            return None, texts
        assert self._tool_format
        described = shown(json.loads(to_json(self._tool_format.told(from_json(tools)))))
        if not self._tool_format.list_syntax:  # as OpenAI's interface has them
            described = [{'type': 'function', 'function': tool} for tool in described]
        return described, texts

    def _parts(self, messages: list[dict[str, str]], prompt: bool = True,
               tools: list[Any] | None = None) -> tuple[list[str], list[int]]:
        """Render; return the texts around the placeholders, and the numbers of these."""
        text = SHARED.render(self._source, {
            **self._tokens, 'messages': messages, 'add_generation_prompt': prompt,
            'tools': tools, 'documents': None})
        parts = _PLACEHOLDER.split(text)
        placeholders = [int(number) for number in parts[1::2]]
        contents = [_placeholder(n) for n in placeholders if n < _TOOL_PLACEHOLDERS]
        if contents != [m['content'] for m in messages]:
            raise ValueError('it does not write every message once and in order')
        return parts[::2], placeholders


def _read(folder: ModelFolder, name: str) -> str:
    """Return the template in a file of the folder; empty when there is none."""
    path = folder.file(name)
    try:
        return read_text(path, MAX_TEMPLATE_BYTES) if path else ''
    except (OSError, ValueError) as error:
        raise _invalid(error) from error


def _common_start(one: list[int], other: list[int]) -> int:
    """Return how many ids two lists begin with in common."""
    pairs = zip(one, other)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _placeholder(number: int) -> str:
    return f'\ue000{number}\ue001'


def _message(role: str, placeholder: int) -> dict[str, str]:
    return {'role': role, 'content': _placeholder(placeholder)}


def _cannot_call(reason: str) -> LfmError:
    return LfmError(ErrorCode.UNSUPPORTED, 'the chat template of this model does not support '
                    f'tools ({reason}): send no tools, or use the chat_template.jinja that was '
                    'published with the model')


def _invalid(error: Exception, when: str = '') -> LfmError:
    kind = 'does what it must not do' if getattr(error, 'forbidden', False) else 'fails'
    reason = quote(error) or type(error).__name__
    return LfmError(ErrorCode.TEMPLATE_INVALID, f'the chat template {kind}{when and " " + when} '
                    f'({reason}): use the chat_template.jinja that was published with the model')
