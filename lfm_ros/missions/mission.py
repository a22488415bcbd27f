# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A named conversation with a state of its own."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import copy
from dataclasses import dataclass
import math
import time

from lfm_ros.engine.generation import Generation
from lfm_ros.engine.generation import IN_COMPANY
from lfm_ros.engine.generation import TOOL_CALLS
from lfm_ros.engine.model import Model
from lfm_ros.engine.picture import Picture
from lfm_ros.engine.rotary import Rotary
from lfm_ros.engine.runner import Interrupt
from lfm_ros.engine.state import Mark
from lfm_ros.engine.tokenizer import check_text
from lfm_ros.engine.tools import ToolResult
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.missions.entry import Entry
from lfm_ros.missions.entry import from_prompt
from lfm_ros.missions.entry import HEAD
from lfm_ros.missions.entry import OBSERVATION
from lfm_ros.missions.entry import RESULTS
from lfm_ros.missions.entry import TURN
from lfm_ros.missions.entry import TURNS
from lfm_ros.missions.overflow import choose_oldest
from lfm_ros.missions.overflow import FORGET
from lfm_ros.missions.overflow import REFUSE
from lfm_ros.missions.sight import Sight
from lfm_ros.missions.transcript import calls_until
from lfm_ros.missions.transcript import Transcript
from lfm_ros.missions.wording import Wording
import numpy as np

KEPT_MARKS = 32  # places to which a rewind costs nothing; between them it reads again


@dataclass(frozen=True)
class Savepoint:
    """All of a mission that a turn may change, as it was before."""

    mark: Mark
    ids: int
    calls: int
    entries: int
    unread: tuple[int, ...]
    marks: tuple[Mark, ...]
    message: int | None
    drops: int


class Mission(Transcript):
    """
    A conversation: its transcript, and a state that has read the first of its ids.

    The ids are the truth, the state is derived. They are read in calls whose sizes are recorded
    (``calls``, then ``unread``): logits of quantized models depend slightly on how tokens are
    split into calls, and a mission that is read again must answer as before.

    :param ids: what stands before the first turn; ``prompt`` the system prompt in it.
    :param overflow: what to do when the context is full, see :mod:`lfm_ros.missions.overflow`.
    :ivar sight: what it looks at while it reads.
    :ivar forgotten: tokens that left to make room, since this object was made.
    """

    def __init__(self, mission_id: str, model: Model, ids: Sequence[int] | None = None,
                 prompt: str = '', overflow: str = REFUSE) -> None:
        super().__init__(mission_id, model.folder.fingerprint)
        self.model = model
        self.overflow = overflow
        self.state = model.new_state()
        self.forgotten = 0
        self._drops = 0  # of a state that proved to be useless
        self._spoiled: Callable[[], None] | None = None  # to be told; None: the state is proved
        self.before_cut: Callable[[], None] = lambda: None  # keys and values are about to change
        self._marks = [self.state.mark()]
        self._message: int | None = None  # where the open user message begins
        self._wording = Wording(model)
        self.sight = Sight(model)
        if ids is not None:
            self._push(ids)
            self.add(HEAD, prompt)
            self.read_all()
            self._marks = [self.state.mark()]

    @classmethod
    def of(cls, transcript: Transcript, model: Model, overflow: str = REFUSE) -> Mission:
        """Return a mission with this transcript, of which nothing is read yet."""
        mission = cls(transcript.mission_id, model, overflow=overflow)
        for name, value in vars(transcript).items():
            setattr(mission, name, list(value) if isinstance(value, list) else value)
        mission.calls, mission.unread = [], transcript.calls + transcript.unread
        mission._find_message()
        return mission

    @property
    def tools(self) -> str:
        """Return the functions that the model may call here, as JSON; empty for none."""
        return self.entries[0].text

    @property
    def awaits_results(self) -> bool:
        """Tell whether the last answer called functions."""
        turns = [entry for entry in self.entries if entry.kind in TURNS]
        return bool(turns) and turns[-1].finish_reason == TOOL_CALLS

    def with_tools(self, tools: str) -> Mission:
        """
        Return a mission in which the same was said, with other tools; it is to be read.

        :param tools: as JSON of :mod:`lfm_ros.engine.tools`.
        :raises LfmError: UNSUPPORTED, and PROMPT_TOO_LONG when they fill half of the context.
        """
        other, prompt = Mission(self.mission_id, self.model, overflow=self.overflow), \
            self.entries[0].prompt
        head, limit = self.model.template.head(prompt, tools), self.model.context_length
        if len(head) > limit // 2:
            raise LfmError(ErrorCode.PROMPT_TOO_LONG, f'the system prompt and the tools have '
                           f'{len(head)} tokens and the context holds {limit}: describe less or '
                           'raise model.context_length')
        other._push(head)
        other.add(HEAD, prompt, tools)
        for entry, ids, _ in self.parts(1):
            other._push(ids)
            other.add(entry.kind, entry.prompt, entry.text, entry.finish_reason, entry.sampling,
                      entry.time, entry.images)
        other._find_message()
        return other

    @property
    def nbytes(self) -> int:
        """Return the memory that the mission takes."""
        marks = sum(m.nbytes for m in self._marks)
        images = sum(p.nbytes for p in self._pictures()) + self.sight.nbytes
        return self.state.nbytes + marks + images + 8 * (len(self.ids) + len(self.calls))

    @property
    def closing_tokens(self) -> int:
        """Return how many tokens close an answer."""
        return len(self._wording.frame.answer_close)

    def fork(self, mission_id: str) -> Mission:
        """Return a copy under another name."""
        other = copy.copy(self)
        other.mission_id = mission_id
        other.logged = 0
        other.state = self.state.copy()
        other.sight = Sight(self.model)
        for name in ('ids', 'calls', 'unread', 'entries', '_marks'):
            setattr(other, name, list(getattr(self, name)))
        return other

    @property
    def last_mark(self) -> Mark:
        """Return the last place in the state that was remembered."""
        return self._marks[-1]

    def adopt(self, other: Mission) -> None:
        """Begin with the state of a mission that is the beginning of this one."""
        self.state = other.state.copy()
        self._marks = list(other._marks)
        self._settle_calls()

    def arrive(self) -> None:
        """Take note that the state was brought to the end of an entry from outside."""
        self._settle_calls()
        self.remember()

    def doubt(self, spoiled: Callable[[], None]) -> None:
        """
        Take note that the state came from outside and no call has proved it.

        :param spoiled: called when the next call gives no numbers; all is then read again.
        """
        self._spoiled = spoiled

    def observe(self, text: str, images: Sequence[Picture] = ()) -> None:
        """
        Tell the mission something that needs no answer.

        It becomes a line of the user message that the next question ends.
        """
        check_text(text, 'observation')
        if not (text.strip() or images):
            raise LfmError(ErrorCode.EMPTY_PROMPT, 'the observation is empty: send some text')
        line = self.encode(text.rstrip('\n') + '\n', images)
        for _ in self.make_room(len(line), 1):
            pass
        if not self.unread:
            self.sight.clear()
        opening = self._wording.around(self._message is not None)[0]
        self._open_message()
        self._push([*opening, *line])
        self.add(OBSERVATION, text, images=images)

    def tell(self, turn: Entry) -> None:
        """Add a turn of another mission as it was said there; it is to be read."""
        results, prompt = from_prompt(turn.prompt) if turn.kind == RESULTS else ((), turn.prompt)
        words = self.encode(prompt, turn.images, results)
        answer = self._wording.answer(turn.text, bool(self.tools))
        for _ in self.make_room(len(words) + len(answer), 1):
            pass
        opening, closing = self._wording.around(self._message is not None, bool(results),
                                                bool(prompt or turn.images))
        self._push([*opening, *words, *closing, *answer, *self._wording.frame.answer_close])
        self.add(turn.kind, turn.prompt, turn.text, turn.finish_reason, turn.sampling, turn.time,
                 turn.images)
        self._message = None

    def split_next(self, most: int) -> None:
        """Make the next call no longer than this; its ids must belong to no entry yet."""
        if self.unread[0] > most:
            self.unread[:1] = [most, self.unread[0] - most]

    def read_next(self, interrupt: Interrupt | None = None) -> np.ndarray:
        """
        Read the next unread call.

        Where that shows that a state from outside is of no use, there is more unread afterwards.

        :returns: float32 logits ``[vocabulary]`` after it.
        """
        start, runner = self.state.position, self.model.runner
        count = self.unread[0]
        if count == IN_COMPANY:
            logits = runner.step_in_company(self.state, self.ids[start])
        else:
            features = self.sight.features(self._pictures(), self.ids, start, count, interrupt)
            logits = runner.run(self.state, self.ids[start:start + count],
                                interrupt=interrupt, features=features)
        self.calls.append(self.unread.pop(0))
        spoiled, self._spoiled = self._spoiled, None
        if spoiled and not math.isfinite(logits[-1].max()):
            spoiled()
            self._drop_state()
            return self.read_next(interrupt)
        return logits[-1]

    def look_ahead(self, interrupt: Interrupt | None = None) -> Iterator[None]:
        """Look at what the next call shows; yields after every tile of an image."""
        return self.sight.look_ahead(self._pictures(), self.ids, self.state.position,
                                     abs(self.unread[0]), interrupt)

    def read_all(self) -> None:
        """Read all that is unread."""
        while self.unread:
            self.read_next()

    def encode(self, text: str, images: Sequence[Picture] = (),
               results: Sequence[ToolResult] = ()) -> list[int]:
        """
        Return the ids of text from outside, those of results and images before it.

        :raises LfmError: when it leaves no room for an answer of one token.
        """
        ids = self._wording.words(text, images, self.head_tokens)
        if results:
            ids = self._wording.results(results, ids)
        if self.overflow == REFUSE:
            self._check_room(len(ids))
        return ids

    def make_room(self, tokens: int, answer: int,
                  interrupt: Interrupt | None = None) -> Iterator[None]:
        """
        Let the oldest entries go, where that is allowed, until a text fits.

        :param tokens: of the text; ``answer`` those wanted for the answer.
        :returns: after every call of the model that this takes.
        :raises LfmError: when it cannot fit.
        """
        limit, head = self.model.context_length, self.head_tokens
        answer = max(1, min(answer, limit // 4))
        room = limit - head - self.around(tokens, answer)
        if self.overflow != REFUSE and len(self.ids) - head > room:
            # Half of the context stays at most, so that the next turns need not do this again.
            count = choose_oldest(self.entries[1:], room, min(room, limit // 2),
                                  len(self._wording.frame.user_open))
            everything = count == len(self.entries) - 1  # no keys are left to be moved
            if count and (self.overflow == FORGET or everything):
                self.forget(count)
            elif count:
                rotary = self.model.rotary
                while self.unread:
                    self.read_next(interrupt)
                    yield
                self.slide(count, rotary)
        self._check_room(tokens)

    def forget(self, count: int) -> None:
        """Let the oldest entries go; the rest is to be read again."""
        self.before_cut()
        _, tokens = self.drop_oldest(count, len(self._wording.frame.user_open))
        self.forgotten += tokens
        self.reread()

    def slide(self, count: int, rotary: Rotary) -> None:
        """Let the oldest entries go and move the keys and values of the rest."""
        self.before_cut()
        start, tokens = self.drop_oldest(count, len(self._wording.frame.user_open))
        self.state.slide(start, tokens, rotary.rotate)
        self.calls, self.unread = self.calls + self.unread, []
        self._marks = [m if m.position <= start else m.moved(tokens)
                       for m in self._marks
                       if m.position <= self.head_tokens or m.position > start + tokens]
        self.forgotten += tokens
        self.slid = len(self.entries)
        self._find_message()
        self.remember()

    def rewind(self, turns: int) -> None:
        """
        Go back to the end of an earlier turn.

        :param turns: how many turns to keep. The state comes from the nearest mark; what lies
            between is read again, in the calls of the first time.
        """
        ends = [place + 1 for place, entry in enumerate(self.entries) if entry.kind in TURNS]
        if not 0 <= turns <= len(ends):
            raise LfmError(ErrorCode.UNKNOWN_TURN, f"mission '{self.mission_id}' has "
                           f'{len(ends)} turns: keep 0 to {len(ends)} of them')
        self._keep([1, *ends][turns])

    def reread(self) -> None:
        """Have all entries read anew, as if they had just been told."""
        ids, entries, first = self.ids, self.entries, self._marks[0]
        self.state.restore(first)
        calls = self.calls + self.unread
        self.calls, self.unread = calls[:calls_until(calls, first.position)], []
        del self._marks[1:]
        self.ids, self.entries, self.slid, self.logged = [], [], 0, 0
        place = 0
        for entry in entries:
            end = place + entry.tokens
            if place < first.position:
                self.ids.extend(ids[place:end])
            else:
                self._push(ids[place:end])
            self.add(entry.kind, entry.prompt, entry.text, entry.finish_reason, entry.sampling,
                     entry.time, entry.images)
            place = end
        self._find_message()

    def save(self) -> Savepoint:
        """Return all that a turn may change."""
        return Savepoint(self.state.mark(), len(self.ids), len(self.calls), len(self.entries),
                         tuple(self.unread), tuple(self._marks), self._message, self._drops)

    def undo(self, point: Savepoint) -> None:
        """Go back to a savepoint."""
        if point.drops == self._drops:
            self.state.restore(point.mark)
            del self.calls[point.calls:]
            self.unread, self._marks = list(point.unread), list(point.marks)
        else:  # the state that there was proved to be useless: the same is read again
            calls = self.calls + self.unread
            del calls[calls_until(calls, point.ids):]
            if self.state.position > point.ids:
                self.state.restore(self._marks[0])
            self.calls, self.unread = [], calls
            self._settle_calls()
        del self.ids[point.ids:], self.entries[point.entries:]
        self._message = point.message
        self.sight.clear()

    def add_question(self, words: Sequence[int], images: Sequence[Picture] = (),
                     results: bool = False, asks: bool = True) -> None:
        """
        Say what is to be answered, and open the answer.

        :param words: see :meth:`encode`.
        :param results: whether they begin with results; ``asks`` whether the user says something.
        """
        self.sight.asked = tuple(images)
        opening, closing = self._wording.around(self._message is not None, results, asks)
        self._open_message()
        self._push([*opening, *words, *closing])

    def commit_ids(self, prompt: str, answer: Generation, sampling: str = '',
                   kind: str = TURN) -> None:
        """Make a question and the tokens of its answer a turn."""
        self.ids.extend(answer.ids[:answer.read])
        self.calls.extend(answer.calls)
        # The last token was chosen but not read; it is read with what closes the answer, whose
        # first token the end token is.
        rest = answer.unread[:-1] if answer.ended else answer.unread
        self._close(rest, prompt, answer.record, answer.finish_reason, sampling, kind)

    def commit_text(self, prompt: str, answer: Generation, asked: Mark, sampling: str = '',
                    kind: str = TURN) -> None:
        """
        Make a question and a text that ended before a stop text a turn.

        The model has read on, into words that nobody got: it goes back to the question and
        reads the text.

        :param asked: the state after the question.
        """
        self.state.restore(asked)
        self._close(self._wording.answer(answer.record, bool(self.tools)), prompt, answer.record,
                    answer.finish_reason, sampling, kind)

    def remember(self) -> None:
        """Keep a mark here; the first one, after the system prompt, stays."""
        self._marks.append(self.state.mark())
        if len(self._marks) > KEPT_MARKS:
            # Every second of the older ones goes: a rewind stays cheap where it is likely.
            del self._marks[1:-KEPT_MARKS // 2:2]

    def _keep(self, entries: int) -> None:
        """Go back to where there were that many entries."""
        self.before_cut()
        target, slid = self.tokens_of(entries), self.tokens_of(self.slid)
        del self.entries[entries:], self.ids[target:]
        self.logged = min(self.logged, entries)
        self._message = None
        self._marks = [m for m in self._marks if m.position <= target]
        calls, mark = self.calls + self.unread, self._marks[-1]
        if mark.position < self.state.position:
            self.state.restore(mark)
        del calls[calls_until(calls, target):]
        self.calls, self.unread = [], calls
        self._settle_calls()
        if mark.position < slid:  # reading on from there would not give what was there
            self.reread()

    def _drop_state(self) -> None:
        """Have all read again that did not come from a state of this process."""
        first, message = self._marks[0], self._message
        tokens, calls = self.tokens_of(len(self.entries)), sum(e.calls for e in self.entries)
        asked = self.ids[tokens:], (self.calls + self.unread)[calls:]
        self.before_cut()
        self.state.restore(first)
        self.state.wipe()
        self._drops += 1
        if first.position < self.tokens_of(self.slid):  # there is no reading that would give it
            self.reread()
            self.push(*asked)
        else:
            self.calls, self.unread = [], self.calls + self.unread
            self._settle_calls()
        del self._marks[1:]
        self._message = message

    def _settle_calls(self) -> None:
        """Tell the calls that the state has seen from those to come."""
        calls = self.calls + self.unread
        place = calls_until(calls, self.state.position)
        self.calls, self.unread = calls[:place], calls[place:]

    def _close(self, rest: Sequence[int], prompt: str, text: str, finish_reason: str,
               sampling: str, kind: str) -> None:
        assert self._message is not None, 'no question was added'
        self.remember()
        self._push([*rest, *self._wording.frame.answer_close])
        self.add(kind, prompt, text, finish_reason, sampling, time.time(), self.sight.asked)
        self._message = None
        self.sight.clear()

    def _pictures(self) -> Iterator[Picture]:
        """Return all pictures in the ids, in order."""
        for entry in list(self.entries):
            yield from entry.images
        yield from self.sight.asked

    def _push(self, ids: Sequence[int]) -> None:
        self.push(ids, [len(c) for c in self.model.chunks(ids)])

    def _open_message(self) -> None:
        """Take note that the message of the user begins here, unless one is open."""
        if self._message is None:
            self._message = len(self.ids)

    def _find_message(self) -> None:
        """Find the open user message: the observations behind the last turn."""
        count = len(self.entries)
        while count and self.entries[count - 1].kind == OBSERVATION:
            count -= 1
        self._message = self.tokens_of(count) if count < len(self.entries) else None

    def around(self, tokens: int, answer: int) -> int:
        """Return how many tokens a question and an answer of that length add here."""
        opening, closing = self._wording.around(self._message is not None)
        return len(opening) + tokens + len(closing) + answer + self.closing_tokens

    def _check_room(self, tokens: int) -> None:
        """Refuse what leaves no room for an answer of one token."""
        limit, needed = self.model.context_length, self.around(tokens, 1)
        if len(self.ids) + needed > limit:
            raise LfmError(ErrorCode.CONTEXT_FULL, f"mission '{self.mission_id}' holds "
                           f'{len(self.ids)} of {limit} tokens, {needed} more do not '
                           'fit: reset or rewind it, raise model.context_length, or let '
                           'missions.overflow make room')
