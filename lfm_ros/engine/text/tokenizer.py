# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Text to tokens and back; text from outside never becomes a control token."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
import re

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.files.model_file import is_lfs_pointer
from lfm_ros.engine.files.model_file import MAX_TOKENIZER_BYTES
from lfm_ros.engine.files.model_file import read_bytes
from lfm_ros.engine.runtime.ort_runs import OrtRuns
from lfm_ros.engine.text.text_growth import growth
from lfm_ros.engine.text.text_growth import MAX_GROWTH
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
import tokenizers

_REPLACEMENT = '\ufffd'
_MAX_TOKENS_PER_CHARACTER = 8  # tokens; no character is spread over more
_UTF8_BYTES = 4  # of the longest character
MAX_ADDED_TOKENS = 20_000  # they are searched for in every text
_PROBE = 'Hello <|x|> \u00e9\n'
_MARKER = re.compile(r'<.+>|\[.+\]', re.DOTALL)


class Tokenizer:
    """
    The tokenizer of a model.

    :param inner: a tokenizer of the library ``tokenizers``.
    :param runs: makes its runs: the expressions of some tokenizers take for ever on some texts.
    :raises ValueError: when no text may be given to it.
    :ivar size: how many ids a graph must know: one more than the highest.
    :ivar longest: the most characters that one token stands for.
    """

    def __init__(self, inner: tokenizers.Tokenizer, runs: OrtRuns | None = None) -> None:
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self._ort_runs = runs or OrtRuns()
        added = inner.get_added_tokens_decoder()
        if len(added) > MAX_ADDED_TOKENS:
            raise ValueError(f'it adds {len(added)} tokens to its vocabulary')
        if growth(inner) > MAX_GROWTH:
            raise ValueError(f'it makes a text more than {MAX_GROWTH} times longer')
        # Some models (LFM2.5) do not mark their tool tokens special, yet they are control tokens.
        # Runs of spaces and other plain words, which some vocabularies add, are not.
        controls = {i: t.content for i, t in added.items()
                    if t.special or _MARKER.fullmatch(t.content)}
        self.control_ids = frozenset(controls)
        vocabulary = inner.get_vocab(with_added_tokens=True)
        self.size = max(vocabulary.values(), default=-1) + 1
        self.longest = max(map(len, vocabulary), default=1)
        self._special = frozenset(i for i, t in added.items() if t.special)
        longest_first = sorted(controls.values(), key=len, reverse=True)
        self._control = re.compile('|'.join(map(re.escape, longest_first)) or r'(?!)')

    @classmethod
    def open(cls, folder: ModelFolder, runs: OrtRuns | None = None) -> Tokenizer:
        """Read tokenizer.json of a model folder."""
        path = folder.file('tokenizer.json')
        if path is None:
            raise LfmError(ErrorCode.TOKENIZER_INVALID, f'{folder.root} has no tokenizer.json: '
                           'copy the tokenizer of the model into it')
        try:
            with _panics():
                content = read_bytes(path, MAX_TOKENIZER_BYTES)
                tokenizer = cls(tokenizers.Tokenizer.from_buffer(content), runs)
                del content
                tokenizer.opening_ids()
                tokenizer.decode(tokenizer.encode_control(_PROBE))
            return tokenizer
        except Exception as error:  # the library raises plain Exception
            hint = "it is a Git LFS pointer, run 'git lfs pull'" if _is_pointer(path) else \
                f'{quote(error)}: copy it again'
            raise LfmError(ErrorCode.TOKENIZER_INVALID,
                           f'{path} is not a tokenizer: {hint}') from error

    def id_of(self, token: str) -> int | None:
        """Return the id of one token, by its exact text."""
        return self._inner.token_to_id(token)

    def to_json(self) -> str:
        """Return it in the format of the library ``tokenizers``."""
        return str(self._inner.to_str())

    def opening_ids(self) -> list[int]:
        """Return the ids that every text begins with, by the tokenizer's own rule."""
        with _failing():
            ids: list[int] = self._inner.encode('').ids
        return ids

    def has_control(self, text: str) -> bool:
        """Return whether a control token would be found in a text of a template."""
        return bool(self._control.search(text)) or \
            not self.control_ids.isdisjoint(self.encode_control(text))

    @property
    def text_control_ids(self) -> frozenset[int]:
        """Return the control tokens that are part of a text, such as ``<think>``."""
        return self.control_ids - self._special

    def piece(self, token_id: int) -> str:
        """Return what one token stands for, as far as it is text on its own."""
        with _failing():
            return self._inner.decode([token_id], skip_special_tokens=False)

    def encode_control(self, text: str) -> list[int]:
        """Encode text of a template, in which control tokens are control tokens."""
        # encode() would keep all other threads waiting, this lets go of the interpreter's lock.
        ids: list[int] = self._ort_runs.run(lambda _: self._encode(text), what='tokenizer')
        return ids

    def _encode(self, text: str) -> list[int]:
        with _failing():
            ids: list[int] = self._inner.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return ids

    def encode(self, text: str) -> list[int]:
        """Encode text from outside: what looks like a control token stays plain text."""
        parts = []
        start = 0
        while match := self._control.search(text, start):
            # Cut after the first character: neither half is the token any more. Go on searching
            # from there, for tokens that overlap.
            parts.append(text[start:match.start() + 1])
            start = match.start() + 1
        parts.append(text[start:])
        ids = []
        for part in parts:
            found = self.encode_control(part)
            if not self.control_ids.isdisjoint(found):  # matched after normalization, say
                found = [i for c in part for i in self.encode_control(c)
                         if i not in self.control_ids]
            ids.extend(found)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens."""
        return self.decode_all([i for i in ids if i not in self._special])

    def decode_all(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens as they are written."""
        with _failing():
            return self._inner.decode(list(ids), skip_special_tokens=False)

    def stream(self) -> TextStream:
        """Return a decoder for ids that come one by one."""
        return TextStream(self)


class TextStream:
    """
    Text of an answer while its tokens come.

    A character of UTF-8 may be spread over several tokens; it is held back until it is whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []  # ids before _fresh were given out, the later ones were not
        self._fresh = 0

    def push(self, token_id: int) -> str:
        """Take one id and return the text that became certain."""
        self._window.append(token_id)
        text, known = self._texts()
        if not text.endswith(_REPLACEMENT):
            return self._give(text[len(known):])
        if len(self._window) - self._fresh < _MAX_TOKENS_PER_CHARACTER:
            return ''
        # Invalid bytes; only the last few may still become a character.
        for place in range(len(self._window) - _UTF8_BYTES + 1, len(self._window)):
            given = self._tokenizer.decode(self._window[:place])
            if given + self._tokenizer.decode(self._window[place:]) == text:
                return self._give(given[len(known):], place)
        return self._give(text[len(known):])

    def flush(self) -> str:
        """Return what is left; bytes that are no character come as U+FFFD."""
        text, known = self._texts()
        return self._give(text[len(known):])

    def _texts(self) -> tuple[str, str]:
        decode = self._tokenizer.decode
        return decode(self._window), decode(self._window[:self._fresh])

    def _give(self, text: str, place: int | None = None) -> str:
        # Some tokenizers decode a token differently at the start of a text (a leading space), so
        # the window keeps what was given out last as context.
        given = len(self._window) if place is None else place
        self._window = self._window[self._fresh:]
        self._fresh = given - self._fresh
        return text


class StopTexts:
    """
    Ends a stream of text before the first of some texts.

    :param stops: the texts; what may be the start of one is held back.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [s for s in stops if s]
        self._held = ''

    def push(self, text: str) -> tuple[str, bool]:
        """Return the text that can be given out, and whether a stop text was reached."""
        self._held += text
        found = [p for p in (self._held.find(s) for s in self._stops) if p >= 0]
        if found:
            return self._held[:min(found)], True
        keep = max((n for s in self._stops for n in range(1, min(len(s), len(self._held) + 1))
                    if self._held.endswith(s[:n])), default=0)
        cut = len(self._held) - keep
        given, self._held = self._held[:cut], self._held[cut:]
        return given, False

    def flush(self) -> str:
        """Return what was held back."""
        given, self._held = self._held, ''
        return given


@contextmanager
def _panics() -> Iterator[None]:
    """
    Make a panic of the library an error like others.

    It comes as an exception that ``except Exception`` does not catch.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != 'PanicException':  # of pyo3, which has no module to import
            raise
        raise ValueError(quote(error)) from error


@contextmanager
def _failing() -> Iterator[None]:
    """Turn an error of the library in the middle of a text into one with advice."""
    try:
        with _panics():
            yield
    except TypeError:  # of the caller
        raise
    except Exception as error:  # as above
        raise LfmError(ErrorCode.TOKENIZER_INVALID, 'the tokenizer of the model fails at a text '
                       f'({quote(error)}): copy tokenizer.json of the model again') from error


def _is_pointer(path: Path) -> bool:
    try:
        return is_lfs_pointer(path)
    except OSError:
        return False
