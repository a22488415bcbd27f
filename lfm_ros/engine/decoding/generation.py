# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Generate one answer, token by token."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import time

from lfm_ros.engine.chunks import BATCHED
from lfm_ros.engine.decoding.limits import Constraints
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.decoding.prompt_lookup import PromptLookup
from lfm_ros.engine.grammar.matcher import Matcher
from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.prepared_runs import SHORT
from lfm_ros.engine.runtime.state import State
from lfm_ros.engine.sampling import Sampler
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.text.tokenizer import StopTexts
from lfm_ros.engine.text.tool_format import ToolCallParser
from lfm_ros.engine.text.tools import ToolCall
import numpy as np

STOP = 'stop'              # the model ended its answer, or a stop text was reached
TOOL_CALLS = 'tool_calls'  # it ended its answer with calls
LENGTH = 'length'          # max_tokens was reached
CONTEXT = 'context'        # the context is full

# Seconds that other requests wait for the matcher; most often it needs a tenth of that.
MATCHER_WAIT = 0.002


class Generation:
    """
    One answer while it is generated.

    :ivar constraints: may be replaced before :meth:`steps`.
    :ivar ids: its tokens, the end token included. The first ``read`` of them are in the state.
    :ivar chunk_sizes: sizes of the runs in which these were read; :data:`BATCHED` for a token that
        was read in a batch.
    :ivar stopped_by_text: whether it ended before a stop text, which its tokens still hold.
    :ivar tokens_per_second: speed after the first token; 0 while there is one at most.
    :ivar drafted: tokens that were drafted and read, whether accepted or not.
    :ivar forced: tokens for which its constraints left no choice; they were read together.
    """

    def __init__(self, model: Model, state: State, sampling: Sampling, limits: Limits,
                 cancel_token: CancelToken | None = None) -> None:
        self.constraints = Constraints()
        self.ids: list[int] = []
        self.chunk_sizes: list[int] = []
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
        self._cancel_token = cancel_token
        self._fed_logits: np.ndarray | None = None
        self._followed = True  # the matcher knows what may come after the last token
        self._prompt_lookup: PromptLookup | None = None
        # The first two are replaced when the answer begins, and its context and tools are known.
        self._sampler = Sampler(sampling, (), model.vocabulary)
        self._reader = ToolCallParser(model.tokenizer.stream(), None)
        self._stops = StopTexts(limits.stop)
        self._given = 0  # characters of the text
        self._start = 0  # of the answer, in the state
        self._started = 0.0

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The functions that it calls."""
        return self._reader.tool_calls

    @property
    def record(self) -> str:
        """Its text with its tool calls in it, as the model wrote them."""
        return self._reader.record(self.text)

    @property
    def ended(self) -> bool:
        """Whether the last id is an end token."""
        return bool(self.ids) and self.ids[-1] in self._model.end_ids

    @property
    def pending_ids(self) -> list[int]:
        """Its tokens that are not in the state."""
        return self.ids[self.read:]

    @property
    def needs_decode_step(self) -> bool:
        """Whether its next run reads one token; this may be done in a batch."""
        return bool(self.ids) and not self.finish_reason and self._fed_logits is None and \
            self._followed and len(self.ids) == self.read + 1

    def feed_logits(self, logits: np.ndarray) -> None:
        """
        Take the logits that :meth:`Runner.decode_batch` gave for the pending token.

        :param logits: float32 ``[vocabulary]``; it is copied.
        """
        self._fed_logits = logits[None].copy()

    def steps(self, logits: np.ndarray, context: Sequence[int]) -> Iterator[str]:
        """
        Work until the answer is complete.

        Between two steps the pending token may be read in a batch, see :attr:`needs_decode_step`.

        :param logits: float32 ``[vocabulary]`` after the prompt.
        :param context: all ids before the answer, for the repetition penalty and for drafts.
        :returns: after every run, the text that became certain (often empty).
        """
        model, tools = self._model, self.constraints.tools
        self._sampler = Sampler(self._sampling, context, model.vocabulary)
        self._reader = ToolCallParser(model.tokenizer.stream(),
                                      model.tool_format if tools else None, tools)
        if model.options.prompt_lookup and model.runner.can_rollback and self.state.shared:
            context_left = model.context_length - self.state.position
            self._prompt_lookup = PromptLookup(
                context, min(self._limits.max_tokens, context_left) + SHORT)
        self._start, self._started = self.state.position, time.monotonic()
        self._choose(logits)
        yield from self._follow()
        while not self.finish_reason:
            yield self._give()
            if self._fed_logits is not None:
                self._take()
            else:
                yield from self._advance()
            yield from self._follow()
        if not self.stopped_by_text:
            delta, self.stopped_by_text = self._stops.push(self._reader.flush())
            self.text += delta
            if not self.stopped_by_text:
                self.text += self._stops.flush()
        if self.finish_reason == STOP and self.tool_calls:
            self.finish_reason = TOOL_CALLS
        yield self._give()

    def _take(self) -> None:
        """Go on with the logits of a batch."""
        logits, self._fed_logits = self._fed_logits, None
        assert logits is not None
        self.read += 1
        self.chunk_sizes.append(BATCHED)
        self._choose(logits[0])

    def _advance(self) -> Iterator[str]:
        """Read the pending tokens and a draft behind them; yields while a matcher is at work."""
        pending_ids = self.pending_ids
        draft = self._propose(pending_ids)
        if draft and self.constraints.matcher:
            self.constraints.matcher.validate(draft)
            yield from self._wait_for_matcher(self.constraints.matcher)
            draft = draft[:self.constraints.matcher.valid]
        if draft:
            yield from self._verify(pending_ids, draft)
            return
        for part in self._model.chunks(pending_ids):
            logits = self._model.runner.run(self.state, part, cancel_token=self._cancel_token)[-1]
            self._note_read(len(part))
        self._choose(logits)

    def _propose(self, pending_ids: Sequence[int]) -> list[int]:
        """Return tokens that may well follow the pending ones."""
        if not self._prompt_lookup:
            return []
        context_left = self._model.context_length - self._limits.reserve_tokens - \
            self.state.position - len(pending_ids) - 1
        return self._prompt_lookup.propose(min(
            SHORT - len(pending_ids), self._limits.max_tokens - len(self.ids) - 1, context_left))

    def _verify(self, pending_ids: Sequence[int], draft: Sequence[int]) -> Iterator[str]:
        """Read a draft and accept the tokens that the model would have chosen."""
        state, runner = self.state, self._model.runner
        self.drafted += len(draft)
        rows = runner.run(state, [*pending_ids, *draft], every=True,
                          cancel_token=self._cancel_token)
        rows = rows[len(pending_ids) - 1:]
        right, first, last = 0, len(self.ids), None
        while True:
            if first + right == len(self.ids):  # else the constraints have forced it already
                self._choose(rows[right])
                for text in self._follow():
                    if last is None:  # other runs overwrite these buffers meanwhile
                        rows, last = rows.copy(), runner.keep_last_run(state)
                    yield text
            if self.finish_reason or right == len(draft) or \
                    self.ids[first + right] != draft[right]:
                break
            right += 1
        assert self._prompt_lookup
        self._prompt_lookup.record_acceptance(len(draft), right)
        kept = len(pending_ids) + right
        if kept == 1:
            # A row alone would be rounded in another way than it was here, so it is read again,
            # together with the token that it led to.
            kept = 0
        runner.rollback(state, kept, last)
        if kept:
            self._note_read(kept)

    def _note_read(self, count: int) -> None:
        self.read += count
        self.chunk_sizes.append(count)

    def _choose(self, logits: np.ndarray) -> None:
        """Choose the next token; :meth:`_follow` must come before the next choice."""
        model, matcher = self._model, self.constraints.matcher
        if model.image_id is not None:  # it would stand for an image that was not sent
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
        """Wait for the matcher after the last choice, and take the tokens that it forces."""
        matcher = self.constraints.matcher
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
        """Let other requests run until the matcher has answered."""
        self._followed = False
        while not matcher.wait(MATCHER_WAIT):
            yield self._give()
        self._followed = True

    def _append(self, token: int) -> None:
        """Take the next token and the text that became certain."""
        self.ids.append(token)
        if self._prompt_lookup:
            self._prompt_lookup.append(token)
        if self.ended:
            self.finish_reason = STOP
            return
        delta, self.stopped_by_text = self._stops.push(self._reader.push(token))
        self.text += delta
        self.finish_reason = STOP if self.stopped_by_text else self._reached_limit()

    def _give(self) -> str:
        """Return the text that became certain since the last time."""
        text, self._given = self.text[self._given:], len(self.text)
        return text

    def _reached_limit(self) -> str:
        if len(self.ids) >= self._limits.max_tokens:
            return LENGTH
        # Another token is only begun when it, too, would still fit.
        needed = self._start + len(self.ids) + 1 + self._limits.reserve_tokens
        if needed > self._model.context_length:
            return CONTEXT
        return ''
