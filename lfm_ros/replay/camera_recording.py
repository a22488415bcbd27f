# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera in any recording, of whose frames one question is asked again and again."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import math

from lfm_ros.errors import LfmError
from lfm_ros.replay.bag import Bag
from lfm_ros.replay.decoder import MessageDecoder
from lfm_ros.replay.decoder import RawMessage
from lfm_ros.replay.events import Observed
from lfm_ros.replay.events import Question
from lfm_ros.replay.frames import to_frame
from lfm_ros.replay.topics import Topics
from lfm_ros.serving.query import Query


class CameraRecording:
    """
    Asks a question of a frame every few seconds; each knows nothing of the others.

    :param query: the question, to which the frame is added.
    :param every: seconds of the recording between two frames; 0: all frames.
    :raises LfmError: INVALID_VALUE, when the recording has no such topic with images.
    """

    def __init__(self, bag: Bag, topic: str, query: Query, every: float = 0.0) -> None:
        self._bag = bag
        self._topic = topic
        self._query = replace(query, aside=True)
        self._every = every
        self._topics = Topics()
        self.count = sum(1 for _ in self._chosen())
        self._topics.check_camera(bag, topic)

    @property
    def notices(self) -> list[str]:
        """Sentences on what is wrong with it, although it can be read."""
        return list(self._bag.damage.values())

    def events(self) -> Iterator[Question | Observed]:
        """Yield what it asks; each time from its beginning."""
        decoder = MessageDecoder()
        for number, raw in enumerate(self._chosen()):
            query, error = self._query, None
            try:
                query = replace(query, images=(to_frame(raw, decoder),))
            except LfmError as failure:
                error = failure
            yield Question(number, raw.time, raw.topic, query, error=error)

    def _chosen(self) -> Iterator[RawMessage]:
        due = -math.inf
        for raw in self._bag.messages(self._is_wanted):
            if raw.time >= due:
                # Frames come a little early or late: the next ones keep to the first.
                due = raw.time + self._every * 1e9
                yield raw

    def _is_wanted(self, topic: str, kind: str) -> bool:
        self._topics.note(topic, kind)
        return topic == self._topic
