# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Hold one answer to a grammar, token by token."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Protocol

from lfm_ros.engine.grammar.grammar import Grammar
from lfm_ros.engine.grammar.grammar import Reply
import numpy as np


class Matcher(Protocol):
    """Follows one answer and knows which tokens may come next."""

    @property
    def complete(self) -> bool:
        """Whether nothing more may come."""

    def wait(self, seconds: float) -> bool:
        """
        Wait until it knows what may come next; the other methods wait as long as it takes.

        :raises LfmError: INVALID_FORMAT, when it takes too long.
        """

    def mask(self, logits: np.ndarray) -> None:
        """
        Make all tokens impossible that may not come next.

        :param logits: float32 ``[vocabulary]``; changed in place.
        """

    def push(self, token: int) -> None:
        """Take a token of the answer that was chosen."""

    def forced(self) -> list[int]:
        """Return the tokens that must come after the last one, once; they need no push."""

    def validate(self, ids: Sequence[int]) -> None:
        """Find out how many of some tokens may come next, one after the other."""

    @property
    def valid(self) -> int:
        """Return how many of the tokens of the last :meth:`validate` may come next."""


class GrammarMatcher:
    """
    Holds an answer to a grammar that is compiled, in the process of that.

    :param grammar: of which this is one answer.
    :param number: of the answer there.
    :param opening: how it may begin.
    """

    def __init__(self, grammar: Grammar, number: int, opening: Reply) -> None:
        self._grammar = grammar
        self._number = number
        self._pending = False
        self._complete = opening.complete
        self._mask = opening.mask
        self._forced: list[int] = []
        self._validating = False
        self._valid = 0

    @classmethod
    def of(cls, grammar: Grammar) -> GrammarMatcher:
        """
        Return the matcher of a new answer; the grammar must be done.

        :raises LfmError: INVALID_FORMAT with the reason, UNSUPPORTED.
        """
        return cls(grammar, *grammar.open())

    def __del__(self) -> None:
        self._grammar.leave(self._number)

    @property
    def complete(self) -> bool:
        """Whether nothing more may come."""
        self._await()
        return self._complete

    def wait(self, seconds: float) -> bool:
        """Wait until it knows what may come next."""
        if self._pending and self._grammar.wait(self._number, seconds):
            reply, self._pending = self._grammar.receive(self._number), False
            if self._validating:
                self._valid, self._validating = reply.count, False
            else:
                self._complete, self._mask, self._forced = reply.complete, reply.mask, reply.forced
        return not self._pending

    def mask(self, logits: np.ndarray) -> None:
        """Make all tokens impossible that may not come next."""
        self._await()
        allowed = np.unpackbits(np.frombuffer(self._mask, np.uint8), count=len(logits),
                                bitorder='little')
        logits[allowed == 0] = -np.inf

    def push(self, token: int) -> None:
        """Take a token of the answer that was chosen."""
        self._await()
        self._grammar.push(self._number, token)
        self._pending = True

    def forced(self) -> list[int]:
        """Return the tokens that must come after the last one, once; they need no push."""
        self._await()
        forced, self._forced = self._forced, []
        return forced

    def validate(self, ids: Sequence[int]) -> None:
        """Find out how many of some tokens may come next, one after the other."""
        self._await()
        self._grammar.validate(self._number, ids)
        self._pending = self._validating = True

    @property
    def valid(self) -> int:
        """Return how many of the tokens of the last :meth:`validate` may come next."""
        self._await()
        return self._valid

    def _await(self) -> None:
        while not self.wait(1.0):
            pass


class FixedAnswer:
    """
    Holds an answer to one text.

    :param ids: its tokens, at least one.
    :ivar valid: how many tokens of the last :meth:`validate` are the next ones.
    """

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids = list(ids)
        self._place = 0
        self.valid = 0

    @property
    def complete(self) -> bool:
        """Whether nothing more may come."""
        return self._place == len(self._ids)

    def wait(self, seconds: float) -> bool:
        """Return at once."""
        return True

    def mask(self, logits: np.ndarray) -> None:
        """Make all tokens impossible but the next one."""
        kept = logits[self._ids[self._place]]
        logits[:] = -np.inf
        logits[self._ids[self._place]] = kept

    def push(self, token: int) -> None:
        """Take the next token."""
        self._place += 1

    def forced(self) -> list[int]:
        """Return the tokens that are left."""
        rest = self._ids[self._place:]
        self._place = len(self._ids)
        return rest

    def validate(self, ids: Sequence[int]) -> None:
        """Find out how many of some tokens are the next ones."""
        rest = self._ids[self._place:self._place + len(ids)]
        self.valid = next((n for n, pair in enumerate(zip(ids, rest)) if pair[0] != pair[1]),
                          len(rest))
