# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A named conversation with a state of its own."""
from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import dataclass
import time

from lfm_ros.engine.generation import Generation
from lfm_ros.engine.generation import STOP
from lfm_ros.engine.model import Model
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.state import Mark
from lfm_ros.engine.tokenizer import check_text
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np

KEPT_MARKS = 32  # places to which a rewind costs nothing; between them it reads again


@dataclass(frozen=True)
class Turn:
    """
    One committed exchange.

    :param start: where its message begins in the mission's ids.
    """

    start: int
    prompt: str
    text: str
    finish_reason: str


@dataclass(frozen=True)
class Savepoint:
    """All of a mission that a turn may change, as it was before."""

    mark: Mark
    ids: int
    calls: int
    turns: int
    unread: tuple[int, ...]
    marks: tuple[Mark, ...]
    message: int | None


class Mission:
    """
    A conversation: its ids, and a state that has read the first of them.

    The ids are the truth, the state is derived. They are read in calls whose sizes are recorded
    (``calls``, then ``unread``): logits of quantized models depend slightly on how tokens are
    split into calls, and a mission that is read again must answer as before.

    :param ids: what stands before the first turn.
    """

    def __init__(self, mission_id: str, model: Model, ids: Sequence[int] = ()) -> None:
        self.mission_id = mission_id
        self.model = model
        self.state = model.new_state()
        self.ids: list[int] = []
        self.calls: list[int] = []
        self.unread: list[int] = []
        self.turns: list[Turn] = []
        self.used_at = time.monotonic()
        self._marks: list[Mark] = []
        self._message: int | None = None  # where the open user message begins
        self._frame = model.template.frame
        self._push(ids)
        while self.unread:
            self.read_next()
        self._head = len(self.ids)
        self._remember()

    @property
    def nbytes(self) -> int:
        """Return the memory that the mission takes."""
        marks = sum(m.nbytes for m in self._marks)
        return self.state.nbytes + marks + 8 * (len(self.ids) + len(self.calls))

    @property
    def pending(self) -> int:
        """Return how many of its ids the model has not read yet."""
        return sum(self.unread)

    @property
    def closing_tokens(self) -> int:
        """Return how many tokens close an answer."""
        return len(self._frame.answer_close)

    def fork(self, mission_id: str) -> Mission:
        """Return a copy under another name."""
        other = copy.copy(self)
        other.mission_id = mission_id
        other.state = self.state.copy()
        for name in ('ids', 'calls', 'unread', 'turns', '_marks'):
            setattr(other, name, list(getattr(self, name)))
        other.used_at = time.monotonic()
        return other

    def observe(self, text: str) -> None:
        """
        Tell the mission something that needs no answer.

        It becomes a line of the user message that the next question ends.
        """
        check_text(text, 'observation')
        if not text.strip():
            raise LfmError(ErrorCode.EMPTY_PROMPT, 'the observation is empty: send some text')
        line = self.encode(text.rstrip('\n') + '\n')
        self._push([*self._open_message(), *line])
        self.used_at = time.monotonic()

    def read_next(self, interrupt: Interrupt | None = None) -> np.ndarray:
        """
        Read the next unread call.

        :returns: float32 logits ``[vocabulary]`` after it.
        """
        start = self.state.position
        count = self.unread[0]
        logits = self.model.runner.run(self.state, self.ids[start:start + count],
                                       interrupt=interrupt)
        self.calls.append(self.unread.pop(0))
        return logits[-1]

    def encode(self, text: str) -> list[int]:
        """
        Return the ids of text from outside.

        :raises LfmError: when it leaves no room for an answer of one token.
        """
        tokenizer, limit = self.model.tokenizer, self.model.context_length
        if len(text) > limit * tokenizer.longest:  # not worth the time
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the text has {len(text)} characters and '
                           f'the context holds {limit} tokens: send less text or raise '
                           'model.context_length')
        ids = tokenizer.encode(text)
        self._check_room(len(ids))
        return ids

    def rewind(self, turns: int) -> None:
        """
        Go back to the end of an earlier turn.

        :param turns: how many turns to keep. The state comes from the nearest mark; what lies
            between is read again, in the calls of the first time.
        """
        if not 0 <= turns <= len(self.turns):
            raise LfmError(ErrorCode.UNKNOWN_TURN, f"mission '{self.mission_id}' has "
                           f'{len(self.turns)} turns: keep 0 to {len(self.turns)} of them')
        if turns < len(self.turns):
            target = self.turns[turns].start
        else:
            target = len(self.ids) if self._message is None else self._message
        self._marks = [m for m in self._marks if m.position <= target]
        calls, position = self.calls + self.unread, self._marks[-1].position
        if position < self.state.position:
            self.state.restore(self._marks[-1])
        place = _calls_until(calls, self.state.position)
        self.calls, self.unread = calls[:place], calls[place:_calls_until(calls, target)]
        del self.ids[target:], self.turns[turns:]
        self._message = None

    def save(self) -> Savepoint:
        """Return all that a turn may change."""
        return Savepoint(self.state.mark(), len(self.ids), len(self.calls), len(self.turns),
                         tuple(self.unread), tuple(self._marks), self._message)

    def undo(self, point: Savepoint) -> None:
        """Go back to a savepoint."""
        self.state.restore(point.mark)
        del self.ids[point.ids:], self.calls[point.calls:], self.turns[point.turns:]
        self.unread, self._marks = list(point.unread), list(point.marks)
        self._message = point.message

    def add_question(self, words: Sequence[int]) -> None:
        """End the user message with a question and open the answer."""
        self.used_at = time.monotonic()
        self._push([*self._open_message(), *words, *self._frame.answer_open])

    def commit_ids(self, prompt: str, answer: Generation) -> None:
        """Make a question and the tokens of its answer a turn."""
        read, last = answer.ids[:-1], answer.ids[-1:]
        self.ids.extend(read)
        self.calls.extend([1] * len(read))
        # The last token was chosen but never read; it is read with what closes the answer.
        self._close(prompt, answer.text, answer.finish_reason, [] if answer.ended else last)

    def commit_text(self, prompt: str, text: str, asked: Mark) -> None:
        """
        Make a question and a text that ended before a stop text a turn.

        The model has read on, into words that nobody got: it goes back to the question and
        reads the text.

        :param asked: the state after the question.
        """
        self.state.restore(asked)
        self._close(prompt, text, STOP, self.model.tokenizer.encode(text))

    def _close(self, prompt: str, text: str, finish_reason: str, rest: Sequence[int]) -> None:
        assert self._message is not None, 'no question was added'
        self._remember()
        self._push([*rest, *self._frame.answer_close])
        self.turns.append(Turn(self._message, prompt, text, finish_reason))
        self._message = None
        self.used_at = time.monotonic()

    def _push(self, ids: Sequence[int]) -> None:
        self.ids.extend(ids)
        self.unread.extend(len(c) for c in self.model.chunks(ids))

    def _open_message(self) -> Sequence[int]:
        """Return the ids that open a user message, none if one is open."""
        if self._message is not None:
            return ()
        self._message = len(self.ids)
        return self._frame.user_open

    def _check_room(self, tokens: int) -> None:
        """Refuse what leaves no room for an answer of one token."""
        frame, limit = self._frame, self.model.context_length
        around = len(frame.user_open) + len(frame.answer_open) + 1 + len(frame.answer_close)
        if self._head + around + tokens > limit:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the text has {tokens} tokens and the '
                           f'context holds {limit}, {self._head + around} of them taken: send '
                           'less text or raise model.context_length')
        needed = tokens + around - (0 if self._message is None else len(frame.user_open))
        if len(self.ids) + needed > limit:
            raise LfmError(ErrorCode.CONTEXT_FULL, f"mission '{self.mission_id}' holds "
                           f'{len(self.ids)} of {limit} tokens, {needed} more do not '
                           'fit: reset or rewind it, or raise model.context_length')

    def _remember(self) -> None:
        """Keep a mark here; the first one, after the system prompt, stays."""
        self._marks.append(self.state.mark())
        if len(self._marks) > KEPT_MARKS:
            # Every second of the older ones goes: a rewind stays cheap where it is likely.
            del self._marks[1:-KEPT_MARKS // 2:2]


def _calls_until(calls: list[int], position: int) -> int:
    """Return how many calls lead to a position."""
    total = 0
    for place, size in enumerate(calls):
        if total == position:
            return place
        total += size
    assert total == position, 'calls and positions disagree'
    return len(calls)
