# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write one answer, token by token."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
import time

from lfm_ros.engine.calling import CallReader
from lfm_ros.engine.draft import Draft
from lfm_ros.engine.matcher import Matcher
from lfm_ros.engine.model import Model
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.runner import SHORT
from lfm_ros.engine.sampling import Sampler
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.state import State
from lfm_ros.engine.tokenizer import StopTexts
from lfm_ros.engine.tools import Tool
from lfm_ros.engine.tools import ToolCall
import numpy as np

STOP = 'stop'              # the model ended its answer, or a stop text was reached
TOOL_CALLS = 'tool_calls'  # it ended its answer with calls
LENGTH = 'length'          # max_tokens was reached
CONTEXT = 'context'        # the context is full

# Seconds that others wait for what may come next in an answer; most often it is there in a tenth.
MATCHER_WAIT = 0.002

IN_COMPANY = -1  # for the size of a call: of one token, in a row beside those of others


@dataclass(frozen=True)
class Limits:
    """
    When an answer ends, beside the model's own end tokens.

    :param max_tokens: longest answer in tokens.
    :param stop: texts before which it ends.
    :param room: tokens of the context that must stay free behind the answer.
    """

    max_tokens: int = 256
    stop: Sequence[str] = ()
    room: int = 0


@dataclass(frozen=True)
class Rules:
    """
    What an answer may be.

    :param matcher: holds it to a form; None: it is free.
    :param tools: what the model may call; what it writes to call is no text then.
    """

    matcher: Matcher | None = None
    tools: Sequence[Tool] = ()


class Generation:
    """
    One answer while it is written.

    :ivar rules: may be replaced before its first token.
    :ivar ids: its tokens, the end token included. The first ``read`` of them are in the state.
    :ivar calls: sizes of the calls in which these were read; :data:`IN_COMPANY` for a token that
        was read in one call with others.
    :ivar stopped_by_text: whether it ended before a stop text, which its tokens still hold.
    :ivar tokens_per_second: speed after the first token; 0 while there is one at most.
    :ivar drafted: tokens that were guessed and read, right or wrong.
    :ivar forced: tokens about which its form left no choice; they were read together.
    """

    def __init__(self, model: Model, state: State, sampling: Sampling, limits: Limits,
                 interrupt: Interrupt | None = None) -> None:
        self.rules = Rules()
        self.ids: list[int] = []
        self.calls: list[int] = []
        self.read = 0
        self.text = ''
        self.finish_reason = ''
        self.stopped_by_text = False
        self.tokens_per_second = 0.0
        self.drafted = 0
        self.forced = 0
        self.state = state
        self._model = model
        self._sampling = sampling
        self._limits = limits
        self._interrupt = interrupt
        self._served: np.ndarray | None = None
        self._followed = True  # its rules have said what comes after the last token
        self._draft: Draft | None = None
        self._given = 0  # characters of the text
        self._start = 0  # of the answer, in the state
        self._started = 0.0

    @property
    def calls_made(self) -> list[ToolCall]:
        """Return the functions that it calls."""
        return self._reader.calls if self.ids else []

    @property
    def record(self) -> str:
        """Return its text with its calls in it, as the model wrote them."""
        return self._reader.record(self.text)

    @property
    def ended(self) -> bool:
        """Tell whether the last id is an end token."""
        return bool(self.ids) and self.ids[-1] in self._model.end_ids

    @property
    def unread(self) -> list[int]:
        """Return its tokens that are not in the state."""
        return self.ids[self.read:]

    @property
    def wants_one(self) -> bool:
        """Tell whether the next thing to do is to read one token; it may be done in company."""
        return bool(self.ids) and not self.finish_reason and self._served is None and \
            self._followed and len(self.ids) == self.read + 1

    def serve(self, logits: np.ndarray) -> None:
        """
        Take what :meth:`Runner.step_together` gave for the unread token.

        :param logits: float32 ``[vocabulary]``; it is copied.
        """
        self._served = logits[None].copy()

    def steps(self, logits: np.ndarray, context: Sequence[int]) -> Iterator[str]:
        """
        Work until the answer is complete.

        Between two steps the unread token may be read by others, see :attr:`wants_one`.

        :param logits: float32 ``[vocabulary]`` after the prompt.
        :param context: all ids before the answer, for the repetition penalty and for guesses.
        :returns: after every call, the text that became certain (often empty).
        """
        model = self._model
        self._sampler = Sampler(self._sampling, context, model.vocabulary)
        self._reader = CallReader(model.tokenizer.stream(),
                                  model.calling if self.rules.tools else None, self.rules.tools)
        self._stops = StopTexts(self._limits.stop)
        if model.options.prompt_lookup and model.runner.can_take_back and self.state.shared:
            room = model.context_length - self.state.position
            self._draft = Draft(context, min(self._limits.max_tokens, room) + SHORT)
        self._start, self._started = self.state.position, time.monotonic()
        self._choose(logits)
        yield from self._follow()
        while not self.finish_reason:
            yield self._give()
            if self._served is not None:
                self._take()
            else:
                yield from self._advance()
            yield from self._follow()
        if not self.stopped_by_text:
            piece, self.stopped_by_text = self._stops.push(self._reader.flush())
            self.text += piece
            if not self.stopped_by_text:
                self.text += self._stops.flush()
        if self.finish_reason == STOP and self.calls_made:
            self.finish_reason = TOOL_CALLS
        yield self._give()

    def _take(self) -> None:
        """Go on from what was read in company."""
        logits, self._served = self._served, None
        assert logits is not None
        self.read += 1
        self.calls.append(IN_COMPANY)
        self._choose(logits[0])

    def _advance(self) -> Iterator[str]:
        """Read what is unread, and guesses behind it; yields while a matcher is at work."""
        unread = self.unread
        guess = self._guess(unread)
        if guess and self.rules.matcher:
            self.rules.matcher.validate(guess)
            yield from self._wait_for_matcher(self.rules.matcher)
            guess = guess[:self.rules.matcher.valid]
        if guess:
            yield from self._verify(unread, guess)
            return
        for part in self._model.chunks(unread):
            logits = self._model.runner.run(self.state, part, interrupt=self._interrupt)[-1]
            self._note_read(len(part))
        self._choose(logits)

    def _guess(self, unread: Sequence[int]) -> list[int]:
        """Return tokens that may well come behind those that are unread."""
        if not self._draft:
            return []
        room = min(SHORT - len(unread), self._limits.max_tokens - len(self.ids) - 1,
                   self._model.context_length - self._limits.room - self.state.position
                   - len(unread) - 1)
        return self._draft.guess(room)

    def _verify(self, unread: Sequence[int], guess: Sequence[int]) -> Iterator[str]:
        """Read guesses and keep those that the model would have chosen."""
        state, runner = self.state, self._model.runner
        self.drafted += len(guess)
        rows = runner.run(state, [*unread, *guess], every=True, interrupt=self._interrupt)
        rows = rows[len(unread) - 1:]
        right, first, last = 0, len(self.ids), None
        while True:
            if first + right == len(self.ids):  # else a form has forced it already
                self._choose(rows[right])
                for text in self._follow():
                    if last is None:  # others run meanwhile, and write where all of this is
                        rows, last = rows.copy(), runner.keep_last_run(state)
                    yield text
            if self.finish_reason or right == len(guess) or \
                    self.ids[first + right] != guess[right]:
                break
            right += 1
        assert self._draft
        self._draft.judge(len(guess), right)
        kept = len(unread) + right
        if kept == 1:
            # A row alone would be rounded in another way than it was here. It is read again,
            # together with the token that it led to.
            kept = 0
        runner.take_back(state, kept, last)
        if kept:
            self._note_read(kept)

    def _note_read(self, count: int) -> None:
        self.read += count
        self.calls.append(count)

    def _choose(self, logits: np.ndarray) -> None:
        """Choose the next token; :meth:`_follow` must come before the next choice."""
        model, matcher = self._model, self.rules.matcher
        if model.image_id is not None:  # it would stand for an image that nobody sent
            logits[model.image_id] = -np.inf
        if matcher:
            matcher.mask(logits)
        self._append(self._sampler.choose(logits))
        if matcher and not (self.ended or self.stopped_by_text):
            matcher.push(self.ids[-1])
            self._followed = False
        if len(self.ids) > 1:
            self.tokens_per_second = (len(self.ids) - 1) / (time.monotonic() - self._started)

    def _follow(self) -> Iterator[str]:
        """Wait for what the rules say after the last choice, and take the tokens they force."""
        matcher = self.rules.matcher
        if matcher is None or self._followed:
            return
        yield from self._wait_for_matcher(matcher)
        for token in matcher.forced():
            if self.finish_reason:
                return
            self._sampler.note(token)
            self.forced += 1
            self._append(token)
        if matcher.complete:
            self.finish_reason = STOP

    def _wait_for_matcher(self, matcher: Matcher) -> Iterator[str]:
        """Let others run until the rules have said what was asked of them."""
        self._followed = False
        while not matcher.wait(MATCHER_WAIT):
            yield self._give()
        self._followed = True

    def _append(self, token: int) -> None:
        """Take the next token and the text that became certain."""
        self.ids.append(token)
        if self._draft:
            self._draft.append(token)
        if self.ended:
            self.finish_reason = STOP
            return
        piece, self.stopped_by_text = self._stops.push(self._reader.push(token))
        self.text += piece
        self.finish_reason = STOP if self.stopped_by_text else self._reached_limit()

    def _give(self) -> str:
        """Return the text that became certain since the last time."""
        text, self._given = self.text[self._given:], len(self.text)
        return text

    def _reached_limit(self) -> str:
        if len(self.ids) >= self._limits.max_tokens:
            return LENGTH
        # Another token is only begun when it, too, would still fit.
        if self._start + len(self.ids) + 1 + self._limits.room > self._model.context_length:
            return CONTEXT
        return ''
