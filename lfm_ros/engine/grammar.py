# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Hold an answer to a form, token by token."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Sequence
import json
from typing import Any

from lfm_ros.engine.form import Form
from lfm_ros.engine.form import parse_schema
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

MOST_KEPT = 32  # compiled grammars
# Where models put a blank in JSON, and where most do not. White space at will would let a model
# write blanks without end.
JSON_STYLE: Any = {'whitespace_flexible': False, 'item_separator': ', ?', 'key_separator': ': ?'}
_SILENT = 0
# A state takes up to 2 kB; llguidance's own limit is 250,000. Its other limits let a hostile form
# hold the model up for some 20 ms.
_MOST_STATES = 5_000


class Grammars:
    """
    Compiles forms for the tokenizer of a model, and keeps what it compiled.

    :param tokenizer: as JSON, in the format of the library ``tokenizers``.
    :param vocabulary: how many logits the model gives.
    :param end_ids: ids that end an answer.
    """

    def __init__(self, tokenizer: str, vocabulary: int, end_ids: Iterable[int]) -> None:
        try:
            import llguidance  # here: most robots never need it, and it takes memory
        except ImportError as error:
            raise LfmError(ErrorCode.UNSUPPORTED, 'the library that holds answers to a form is '
                           'missing: pip install llguidance') from error
        self._library = llguidance
        self._limits = llguidance.LLParserLimits(max_lexer_states=_MOST_STATES)
        try:
            self._tokenizer = llguidance.LLTokenizer(
                tokenizer, n_vocab=vocabulary, eos_token=sorted(end_ids))
        except Exception as error:  # the library raises what its parts raise
            raise LfmError(ErrorCode.UNSUPPORTED, 'answers of this model cannot be held to a '
                           f'form, its tokenizer is of another kind ({error}): leave '
                           'response_format and tool_choice empty') from error
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def follow(self, form: Form) -> Matcher:
        """
        Return what holds an answer to a form.

        :raises LfmError: INVALID_FORMAT with the reason.
        """
        return self.follow_source(self._source(form), form.name)

    def follow_source(self, source: str, name: str = 'grammar') -> Matcher:
        """
        Return what holds an answer to a grammar of llguidance.

        :param source: Lark, or JSON as llguidance's ``grammar_from_...`` return it.
        :param name: how an error calls it.
        """
        compiled = self._compiled.get(source)
        if compiled is None:
            compiled = self._library.LLMatcher(self._tokenizer, source, log_level=_SILENT,
                                               limits=self._limits)
            if compiled.is_error():
                raise LfmError(ErrorCode.INVALID_FORMAT, f'the {name} of response_format cannot '
                               f'be used ({_first_line(compiled.get_error())}): correct it')
            self._compiled[source] = compiled
            if len(self._compiled) > MOST_KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(source)
        return Matcher(compiled.deep_copy())

    def _source(self, form: Form) -> str:
        """Return a form as a grammar of llguidance."""
        library = self._library.LLMatcher
        if form.json_schema:
            return str(library.grammar_from_json_schema(
                json.dumps(parse_schema(form.json_schema)), defaults=JSON_STYLE))
        if form.regex:
            return str(library.grammar_from_regex(form.regex))
        lark = form.grammar
        if form.choices:
            lark = 'start: ' + ' | '.join(json.dumps(c, ensure_ascii=False) for c in form.choices)
        return str(library.grammar_from_lark(lark))


class Matcher:
    """
    Follows one answer and says what may come next.

    :param inner: of llguidance, at the beginning of a grammar.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def complete(self) -> bool:
        """Tell whether nothing more may come."""
        return bool(self._inner.is_stopped())

    def mask(self, logits: np.ndarray) -> None:
        """
        Make all tokens impossible that may not come next.

        :param logits: float32 ``[vocabulary]``; changed in place.
        """
        allowed = np.unpackbits(np.frombuffer(self._inner.compute_bitmask(), np.uint8),
                                count=len(logits), bitorder='little')
        self._check()
        logits[allowed == 0] = -np.inf

    def forced(self) -> list[int]:
        """Return the tokens that must come next, as far as there is no choice."""
        return list(self._inner.compute_ff_tokens())

    def push(self, ids: Sequence[int]) -> None:
        """Take tokens of the answer."""
        self._inner.consume_tokens(list(ids))
        self._check()

    def count_valid(self, ids: Sequence[int]) -> int:
        """Return how many of some tokens may come next, one after the other."""
        return int(self._inner.validate_tokens(list(ids)))

    def _check(self) -> None:
        if self._inner.is_error():
            raise LfmError(ErrorCode.INVALID_FORMAT, 'the form of the answer is too complex '
                           f'({_first_line(self._inner.get_error())}): simplify response_format')


def _first_line(text: str) -> str:
    """Return what a message of llguidance says, without the drawing below it."""
    lines = [line.strip() for line in text.splitlines() if line.strip().strip('^')]
    said = [line for line in lines if line.startswith('error:')] or lines[:1] or ['no reason']
    return said[0].removeprefix('error:').strip()[:300]
