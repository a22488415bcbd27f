# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a node was asked, told and had answered, from the topics of it in a recording."""
from __future__ import annotations

from collections import Counter
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from lfm_ros.engine.vision.mono16 import AUTO
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.replay.bag import Bag
from lfm_ros.replay.comparison import recorded_fields
from lfm_ros.replay.decoder import MessageDecoder
from lfm_ros.replay.decoder import OBSERVATION
from lfm_ros.replay.decoder import RawMessage
from lfm_ros.replay.decoder import RESPONSE
from lfm_ros.replay.decoder import STRING
from lfm_ros.replay.events import Observed
from lfm_ros.replay.events import Question
from lfm_ros.replay.frames import LookedAt
from lfm_ros.replay.frames import Stamp
from lfm_ros.replay.frames import to_frame
from lfm_ros.replay.matching import Asked
from lfm_ros.replay.matching import match
from lfm_ros.replay.topics import IMAGES
from lfm_ros.replay.topics import OF_NODE
from lfm_ros.replay.topics import Topics
from lfm_ros.serving.query import DEFAULT_MISSION
from lfm_ros.serving.query import Query
from lfm_ros.serving.query_message import to_frames
from lfm_ros.serving.query_message import to_query

_LATE = 1_000_000_000  # nanoseconds after an answer in which its frame may still be recorded


@dataclass(frozen=True)
class _Waiting:
    """A question or observation; ``stamp``: of the frame that it needs, ``until`` when at most."""

    event: Question | Observed
    stamp: Stamp | None = None
    until: int = 0


class NodeRecording:
    """
    The questions and observations of a node, with their images and the recorded answers.

    It reads the recording twice: an answer comes behind its question, and tells which frame of
    the camera was looked at.

    :param node: name of the node, with its namespace; empty: the only one.
    :raises LfmError: INVALID_VALUE, when there is none, or several.
    """

    def __init__(self, bag: Bag, node: str = '') -> None:
        self._bag = bag
        self._topics = Topics(node)
        self._decoder = MessageDecoder()
        self._unreadable: set[tuple[str, int]] = set()
        asked, responses = self._read_index()
        self._wanted = self._topics.of_node(bag)
        chosen = [each for topic, each in asked if topic in self._wanted]
        self.count = len(chosen)
        self._recorded, self._lost = match(
            chosen, [(time, found) for topic, time, found in responses if topic in self._wanted])

    @property
    def notices(self) -> list[str]:
        """Sentences on what is wrong with it, although it can be read."""
        found = list(self._bag.damage.values())
        for count, what in ((len(self._unreadable), 'cannot be decoded and'),
                            (self._lost, 'answer questions that were not recorded and')):
            if count:
                found.append(f'{self._bag.path} has {count} messages that {what} are left out: '
                             'record anew if you need them')
        return found

    def events(self) -> Iterator[Question | Observed]:
        """Yield what it asks; each time from its beginning."""
        frames = LookedAt(self._stamps())
        waiting: deque[_Waiting] = deque()
        number = 0
        for raw in self._bag.messages(
                lambda topic, kind: topic in self._wanted and kind in OF_NODE or
                bool(frames) and kind in IMAGES):
            if raw.type in IMAGES:
                frames.note(raw)
            elif raw.type != RESPONSE and (message := self._decode(raw)):
                waiting.append(self._waiting(raw, message, number))
                number += raw.type != OBSERVATION
            while waiting and (not waiting[0].stamp or waiting[0].stamp in frames
                               or raw.time > waiting[0].until):
                yield self._with_frame(waiting.popleft(), frames)
        for each in waiting:
            yield self._with_frame(each, frames)

    def _read_index(self) -> tuple[list[tuple[str, Asked]], list[tuple[str, int, Any]]]:
        """Return what was asked on which topic, and the topics and times of the answers."""
        asked: list[tuple[str, Asked]] = []
        responses: list[tuple[str, int, Any]] = []
        for raw in self._bag.messages(self._topics.is_candidate):
            message = self._decode(raw)
            if message is None:
                continue
            try:
                if raw.type == RESPONSE:
                    recorded_fields(message)
                    responses.append((raw.topic, raw.time, message))
                elif raw.type != OBSERVATION:
                    asked.append((raw.topic, _asked(raw, message)))
            except AttributeError as error:
                raise LfmError(ErrorCode.UNSUPPORTED, f'{self._bag.path} has {raw.type} of '
                               f'another version, without {error.name}: replay it by the version '
                               'of lfm_ros that it was recorded with') from error
        return asked, responses

    def _stamps(self) -> Counter[Stamp]:
        return Counter(found.stamp for found in self._recorded if found and found.stamp)

    def _decode(self, raw: RawMessage) -> Any:
        try:
            return self._decoder.decode(raw)
        except ValueError:
            self._unreadable.add((raw.topic, raw.time))
            return None

    def _waiting(self, raw: RawMessage, message: Any, number: int) -> _Waiting:
        if raw.type == STRING:
            message.images = message.compressed_images = []
        images: list[Any] = []
        error = None
        try:
            images = to_frames(message, AUTO)
        except LfmError as failure:
            error = failure
        if raw.type == OBSERVATION:
            return _Waiting(Observed(number, message.mission_id or DEFAULT_MISSION, message.text,
                                     tuple(images), error))
        query = Query(message.data) if raw.type == STRING else to_query(message, images)
        found = self._recorded[number]
        question = Question(number, raw.time, raw.topic, query,
                            found.response if found else None, error)
        if not getattr(message, 'use_camera', False) or error:
            return _Waiting(question)
        if not (found and found.stamp):
            return _Waiting(replace(question, error=_no_frame('nothing tells which one')))
        return _Waiting(question, found.stamp, found.time + _LATE)

    def _with_frame(self, waiting: _Waiting, frames: LookedAt) -> Question | Observed:
        """Return a question with the frame that it was about."""
        event = waiting.event
        if not waiting.stamp or isinstance(event, Observed):
            return event
        raw = frames.take(waiting.stamp)
        if raw is None:
            return replace(event, error=_no_frame('the recording does not have it'))
        try:
            images = (*event.query.images, to_frame(raw, self._decoder))
        except LfmError as error:
            return replace(event, error=error)
        return replace(event, query=replace(event.query, images=images))


def _asked(raw: RawMessage, message: Any) -> Asked:
    """Return what a question tells of its answer."""
    if raw.type == STRING:
        return Asked('', DEFAULT_MISSION)
    query = to_query(message)
    images = len(message.images) + len(message.compressed_images)
    return Asked(query.request_id, query.mission_id, message.use_camera, images)


def _no_frame(reason: str) -> LfmError:
    return LfmError(ErrorCode.NO_CAMERA_FRAME, f'the question was about a frame of the camera, '
                    f'and {reason}: record the topic of the camera and ~/response, too')
