# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run the questions of a recording through a model, in their order and by their missions."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
import logging
import time
from typing import Any
from typing import TypeVar

from lfm_ros.conversation.entry import TURNS
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.errors import LfmError
from lfm_ros.replay.comparison import answer_fields
from lfm_ros.replay.comparison import compare
from lfm_ros.replay.comparison import has_form
from lfm_ros.replay.comparison import recorded_fields
from lfm_ros.replay.events import Observed
from lfm_ros.replay.events import Question
from lfm_ros.replay.events import Recording
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.request import Request
from lfm_ros.serving.scheduler import Scheduler

_log = logging.getLogger(__name__)
_Result = TypeVar('_Result')


class Runner:
    """
    Asks a model what a recording asked.

    Its missions begin with the recording. A question whose recorded answer is an error left its
    mission as it was, so it is asked as an aside. The timeouts of the recording do not count.

    :param scheduler: its missions are those of this recording, and of nothing else.
    :param timeout: seconds for each answer; 0: none.
    :param done: the results that an earlier run has written, the first of the recording.
    """

    def __init__(self, scheduler: Scheduler, recording: Recording, timeout: float = 0.0,
                 done: Sequence[dict[str, Any]] = ()) -> None:
        self._scheduler = scheduler
        self._recording = recording
        self._timeout = timeout
        self._done = len(done)
        # The last turn that each mission holds; what came before it is not asked again.
        self._held = {line['mission_id']: line for line in done if line['state']}
        if done and not self._in_model(self._restore):
            self._held.clear()

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield the result of every question that has none yet, as soon as it is answered."""
        for event in self._recording.events():
            if isinstance(event, Observed):
                if event.before > self._held_until(event.mission_id):
                    self._observe(event)
            elif event.number >= self._done:
                yield self._ask(event)
            elif event.number > self._held_until(event.query.mission_id) and \
                    not self._is_aside(event):
                self._answer(event)  # the mission is not there any more

    def _held_until(self, mission_id: str) -> int:
        line = self._held.get(mission_id)
        return line['question'] if line else -1

    def _restore(self) -> bool:
        """Take all missions back to the last turn that has a result; return whether they are."""
        store = self._scheduler.store
        for info in store.list():
            if info.mission_id not in self._held:
                store.delete(info.mission_id)
        with suppress(LfmError):
            for mission_id, line in self._held.items():
                entries = store.get(mission_id).entries
                digests = [entry.digest for entry in entries]
                end = digests.index(line['state']) + 1 if line['state'] in digests else 0
                if not end:
                    break
                store.rewind(mission_id, sum(e.kind in TURNS for e in entries[:end]))
            else:
                return True
        for info in store.list():
            store.delete(info.mission_id)
        return False

    def _observe(self, event: Observed) -> None:
        try:
            if event.error:
                raise event.error
            self._scheduler.observe(event.mission_id, event.text, event.images).result()
        except LfmError as error:
            _log.warning('an observation of mission %r was lost: %s', event.mission_id, error)

    def _is_aside(self, question: Question) -> bool:
        return question.query.aside or bool(question.recorded and question.recorded.error_code)

    def _answer(self, question: Question) -> Answer:
        query = replace(question.query, timeout=self._timeout, aside=self._is_aside(question))
        if question.error:
            request = Request(query)
            request.fail(question.error)
        else:
            request = self._scheduler.submit(query)
        try:
            return request.wait()
        except KeyboardInterrupt:
            request.cancel()
            request.wait()
            raise

    def _ask(self, question: Question) -> dict[str, Any]:
        """Return the result of a question."""
        query = question.query
        started = time.monotonic()
        answer = self._answer(question)
        seconds = time.monotonic() - started
        now, recorded = answer_fields(answer), recorded_fields(question.recorded)
        for fields in filter(None, (now, recorded)):
            fields['valid_form'] = self._has_valid_form(query.response_format, fields)
        committed = not (answer.error_code or query.raw or self._is_aside(question))
        return {'question': question.number, 'time': question.time, 'topic': question.topic,
                'mission_id': query.mission_id, 'request_id': query.request_id,
                'prompt': query.prompt, 'images': len(query.images), **compare(now, recorded),
                'now': now, 'recorded': recorded, 'seconds': seconds,
                'state': self._in_model(lambda: self._state(query.mission_id))
                if committed else ''}

    def _has_valid_form(self, wanted: ResponseFormat, fields: dict[str, Any]) -> bool | None:
        """Return whether an answer has the form that was asked for; None: any, or it failed."""
        if not wanted.name or fields['error_code']:
            return None
        text, store = fields['text'], self._scheduler.store
        return self._in_model(lambda: has_form(store, wanted, text))

    def _state(self, mission_id: str) -> str:
        """Return the name of the state of a mission after a turn."""
        return self._scheduler.store.get(mission_id).entries[-1].digest

    def _in_model(self, work: Callable[[], _Result]) -> _Result:
        """Do something in the thread of the model, where the missions are."""
        result: _Result = self._scheduler.submit_job(work).result()
        return result
