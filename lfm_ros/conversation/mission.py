# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A named conversation with a state of its own: how messages and answers are added to it."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import time

from lfm_ros.conversation.cached_transcript import CachedTranscript
from lfm_ros.conversation.context_window import choose_oldest
from lfm_ros.conversation.context_window import FORGET
from lfm_ros.conversation.context_window import REFUSE
from lfm_ros.conversation.entry import Entry
from lfm_ros.conversation.entry import from_prompt
from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.entry import OBSERVATION
from lfm_ros.conversation.entry import RESULTS
from lfm_ros.conversation.entry import TURN
from lfm_ros.conversation.entry import TURNS
from lfm_ros.conversation.message_encoder import MessageEncoder
from lfm_ros.conversation.restore_points import RestorePoints
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.engine.decoding.generation import Generation
from lfm_ros.engine.decoding.generation import TOOL_CALLS
from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.runtime.state import Mark
from lfm_ros.engine.text.text_check import check_text
from lfm_ros.engine.text.tools import ToolResult
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError


class Mission(CachedTranscript):
    """
    A conversation: its transcript and the state after it.

    :param ids: what stands before the first turn; ``prompt`` the system prompt in it.
    :param overflow: what to do when the context is full, see
        :mod:`lfm_ros.conversation.context_window`.
    """

    def __init__(self, mission_id: str, model: Model, ids: Sequence[int] | None = None,
                 prompt: str = '', overflow: str = REFUSE) -> None:
        super().__init__(mission_id, model)
        self.overflow = overflow
        self._encoder = MessageEncoder(model)
        if ids is not None:
            for _ in self.begin(ids, prompt):
                pass

    @classmethod
    def of(cls, transcript: Transcript, model: Model, overflow: str = REFUSE) -> Mission:
        """Return a mission with this transcript, of which nothing is read yet."""
        mission = cls(transcript.mission_id, model, overflow=overflow)
        mission.take_transcript(transcript)
        return mission

    @classmethod
    def begun(cls, mission_id: str, model: Model, prompt: str, tools: str,
              overflow: str = REFUSE) -> Mission:
        """
        Return a mission without turns whose system prompt and tools are its own, and pending.

        :param tools: as JSON of :mod:`lfm_ros.engine.text.tools`.
        :raises LfmError: UNSUPPORTED, and PROMPT_TOO_LONG when they fill half of the context.
        """
        mission = cls(mission_id, model, overflow=overflow)
        ids, limit = model.template.preamble(prompt, tools), model.context_length
        if len(ids) > limit // 2:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, 'the system prompt and the tools have '
                           f'{len(ids)} tokens and the context has {limit}: describe less or '
                           'raise model.context_length')
        mission._push(ids)
        mission.add(HEAD, prompt, tools)
        return mission

    def begin(self, ids: Sequence[int], prompt: str = '', cancel_token: CancelToken | None = None
              ) -> Iterator[None]:
        """
        Take and read what stands before the first turn; the mission is empty.

        :param prompt: the system prompt in it.
        :returns: after every run of the model that this takes.
        """
        self._push(ids)
        self.add(HEAD, prompt)
        while self.pending_sizes:
            self.prefill_next(cancel_token)
            yield
        self.restore_points = RestorePoints(self.state.mark())

    @property
    def tools(self) -> str:
        """The functions that the model may call here, as JSON; empty for none."""
        return self.entries[0].text

    @property
    def awaits_results(self) -> bool:
        """Whether the last answer called functions."""
        turns = [entry for entry in self.entries if entry.kind in TURNS]
        return bool(turns) and turns[-1].finish_reason == TOOL_CALLS

    @property
    def in_message(self) -> bool:
        """Whether observations have opened a message of the user that no question ends yet."""
        return bool(self.entries) and self.entries[-1].kind == OBSERVATION

    @property
    def closing_tokens(self) -> int:
        """How many tokens close an answer."""
        return len(self._encoder.markup.assistant_suffix)

    def fork(self, mission_id: str) -> Mission:
        """Return a copy under another name."""
        other: Mission = self.copy()
        other.mission_id = mission_id
        return other

    def with_tools(self, tools: str) -> Mission:
        """
        Return a mission with the same entries and other tools; all of it is pending.

        :param tools: as JSON of :mod:`lfm_ros.engine.text.tools`.
        :raises LfmError: UNSUPPORTED, and PROMPT_TOO_LONG when they fill half of the context.
        """
        other = Mission.begun(self.mission_id, self.model, self.entries[0].prompt, tools,
                              self.overflow)
        for entry, ids, _ in self.parts(1):
            other._push(ids)
            other.add(entry.kind, entry.prompt, entry.text, entry.finish_reason, entry.sampling,
                      entry.time, entry.images)
        return other

    def observe(self, text: str, images: Sequence[PreparedImage] = ()) -> None:
        """
        Add context that needs no answer.

        It becomes a line of the user message that the next question ends.
        """
        check_text(text, 'observation')
        if not (text.strip() or images):
            raise LfmError(ErrorCode.EMPTY_PROMPT, 'the observation is empty: send some text')
        line = self.encode(text.rstrip('\n') + '\n', images)
        for _ in self.evict_turns(len(line), 1):
            pass
        if not self.pending_sizes:
            self.image_features.clear()
        self._push([*self._encoder.delimiters(self.in_message)[0], *line])
        self.add(OBSERVATION, text, images=images)

    def replay_turn(self, turn: Entry) -> None:
        """Add a turn of another mission from its text; it is pending."""
        results, prompt = from_prompt(turn.prompt) if turn.kind == RESULTS else ((), turn.prompt)
        message = self.encode(prompt, turn.images, results)
        answer = self._encoder.answer(turn.text, bool(self.tools))
        for _ in self.evict_turns(len(message) + len(answer), 1):
            pass
        opening, closing = self._encoder.delimiters(self.in_message, bool(results),
                                                    bool(prompt or turn.images))
        self._push([*opening, *message, *closing, *answer,
                    *self._encoder.markup.assistant_suffix])
        self.add(turn.kind, turn.prompt, turn.text, turn.finish_reason, turn.sampling, turn.time,
                 turn.images)

    def encode(self, text: str, images: Sequence[PreparedImage] = (),
               results: Sequence[ToolResult] = ()) -> list[int]:
        """
        Return the ids of text from outside, those of results and images before it.

        :raises LfmError: when not even an answer of one token would fit.
        """
        ids = self._encoder.encode_text(text, images, self.head_tokens)
        if results:
            ids = self._encoder.results(results, ids)
        if self.overflow == REFUSE:
            self._check_fits(len(ids))
        return ids

    def evict_turns(self, tokens: int, answer: int,
                    cancel_token: CancelToken | None = None) -> Iterator[None]:
        """
        Drop the oldest entries, where that is allowed, until a text fits.

        :param tokens: of the text; ``answer`` those wanted for the answer.
        :returns: after every run of the model that this takes.
        :raises LfmError: when it cannot fit.
        """
        limit, opening = self.model.context_length, len(self._encoder.markup.user_prefix)
        answer = max(1, min(answer, limit // 4))
        context_left = limit - self.head_tokens - self.message_tokens(tokens, answer)
        if self.overflow != REFUSE and len(self.ids) - self.head_tokens > context_left:
            # Half of the context stays at most, so that the next turns need not do this again.
            count = choose_oldest(self.entries[1:], context_left, min(context_left, limit // 2),
                                  opening)
            everything = count == len(self.entries) - 1  # no keys are left to be moved
            if count and (self.overflow == FORGET or everything):
                self.forget(count, opening)
            elif count:
                rotary = self.model.rotary
                while self.pending_sizes:
                    self.prefill_next(cancel_token)
                    yield
                self.slide(count, opening, rotary.cos_sin)
        self._check_fits(tokens)

    def rewind(self, turns: int) -> None:
        """
        Go back to the end of an earlier turn.

        :param turns: how many turns to keep.
        :raises LfmError: UNKNOWN_TURN.
        """
        ends = [place + 1 for place, entry in enumerate(self.entries) if entry.kind in TURNS]
        if not 0 <= turns <= len(ends):
            raise LfmError(ErrorCode.UNKNOWN_TURN, f"mission '{self.mission_id}' has "
                           f'{len(ends)} turns: keep 0 to {len(ends)} of them')
        self.keep([1, *ends][turns])

    def add_question(self, message: Sequence[int], images: Sequence[PreparedImage] = (),
                     results: bool = False, asks: bool = True) -> None:
        """
        Add a question and open the answer.

        :param message: see :meth:`encode`.
        :param results: whether it begins with results; ``asks`` whether the user asks something.
        """
        self.image_features.asked = tuple(images)
        opening, closing = self._encoder.delimiters(self.in_message, results, asks)
        self._push([*opening, *message, *closing])

    def commit_ids(self, prompt: str, answer: Generation, sampling: str = '',
                   kind: str = TURN) -> None:
        """Make a question and the tokens of its answer a turn."""
        self.ids.extend(answer.ids[:answer.read])
        self.chunk_sizes.extend(answer.chunk_sizes)
        # The last token was chosen but not read; it is read with what closes the answer, whose
        # first token the end token is.
        rest = answer.pending_ids[:-1] if answer.ended else answer.pending_ids
        self._close(rest, prompt, answer, sampling, kind)

    def commit_text(self, prompt: str, answer: Generation, asked: Mark, sampling: str = '',
                    kind: str = TURN) -> None:
        """
        Make a question and a text that ended before a stop text a turn.

        The model has read on, into words that were not handed out: it goes back to the question
        and reads the text.

        :param asked: the state after the question.
        """
        self.state.restore(asked)
        self._close(self._encoder.answer(answer.record, bool(self.tools)), prompt, answer,
                    sampling, kind)

    def message_tokens(self, tokens: int, answer: int) -> int:
        """Return how many tokens a question and an answer of these lengths add here."""
        opening, closing = self._encoder.delimiters(self.in_message)
        return len(opening) + tokens + len(closing) + answer + self.closing_tokens

    def _close(self, rest: Sequence[int], prompt: str, answer: Generation, sampling: str,
               kind: str) -> None:
        self.restore_points.add(self.state.mark())
        self._push([*rest, *self._encoder.markup.assistant_suffix])
        self.add(kind, prompt, answer.record, answer.finish_reason, sampling, time.time(),
                 self.image_features.asked)
        self.image_features.clear()

    def _check_fits(self, tokens: int) -> None:
        """Refuse what leaves no context for an answer of one token."""
        limit, needed = self.model.context_length, self.message_tokens(tokens, 1)
        if len(self.ids) + needed > limit:
            raise LfmError(ErrorCode.CONTEXT_FULL, f"mission '{self.mission_id}' has "
                           f'{len(self.ids)} of {limit} tokens, {needed} more do not '
                           'fit: reset or rewind it, raise model.context_length, or let '
                           'missions.overflow make room')
