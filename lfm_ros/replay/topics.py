# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which topics of a recording are wanted."""
from __future__ import annotations

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import few
from lfm_ros.errors import LfmError
from lfm_ros.replay.bag import Bag
from lfm_ros.replay.decoder import COMPRESSED_IMAGE
from lfm_ros.replay.decoder import IMAGE
from lfm_ros.replay.decoder import OBSERVATION
from lfm_ros.replay.decoder import QUERY
from lfm_ros.replay.decoder import RESPONSE
from lfm_ros.replay.decoder import STRING

IMAGES = (IMAGE, COMPRESSED_IMAGE)
_NODE = (QUERY, OBSERVATION, RESPONSE)
OF_NODE = (*_NODE, STRING)
_PROMPT = '/prompt'
_SHOWN = 12  # topics in a sentence


class Topics:
    """
    The topics of a recording, as they are met.

    :ivar types: by name.
    """

    def __init__(self, node: str = '') -> None:
        self.types: dict[str, str] = {}
        self._node = node.rstrip('/')

    def note(self, topic: str, kind: str) -> None:
        """Take a topic into account."""
        self.types[topic] = kind

    def is_candidate(self, topic: str, kind: str) -> bool:
        """Return whether a topic may be one of a node of this package; it is noted."""
        self.note(topic, kind)
        return kind in _NODE or kind == STRING and topic.endswith(_PROMPT)

    def of_node(self, bag: Bag) -> set[str]:
        """
        Return the topics of the node that is named, or of the only one.

        :raises LfmError: INVALID_VALUE, when there are none with questions, or several nodes.
        """
        kinds = {topic: kind for topic, kind in self.types.items() if kind in _NODE}
        nodes = {_prefix(topic) for topic in kinds}
        asking = {_prefix(topic) for topic, kind in self.types.items()
                  if kind in (QUERY, OBSERVATION) or
                  kind == STRING and topic.endswith(_PROMPT) and _prefix(topic) in nodes}
        if self._node:
            asking &= {self._node}
        if not asking:
            raise self._refusal(bag, 'no topic with questions to '
                                + (f'the node {self._node}' if self._node else
                                   'a node of lfm_ros'),
                                'name a camera by --topic, or record ~/query and ~/response')
        if len(asking) > 1:
            raise LfmError(ErrorCode.INVALID_VALUE, f'{bag.path} has the questions to '
                           f'{len(asking)} nodes, {few(sorted(asking))}: choose one of them by '
                           '--node')
        node, = asking
        responses = [topic for topic, kind in kinds.items() if kind == RESPONSE]
        return {topic for topic in self.types if _prefix(topic) == node} | \
            set(responses if len(responses) == 1 else ())

    def check_camera(self, bag: Bag, topic: str) -> None:
        """
        Refuse a topic that no camera has.

        :raises LfmError: INVALID_VALUE.
        """
        kind = self.types.get(topic)
        if kind is None:
            raise self._refusal(bag, f'no topic {topic}', 'name one of them by --topic')
        if kind not in IMAGES:
            raise LfmError(ErrorCode.INVALID_VALUE, f'the topic {topic} of {bag.path} has '
                           f'{kind}: name one of {" or ".join(IMAGES)} by --topic')

    def _refusal(self, bag: Bag, missing: str, todo: str) -> LfmError:
        names = [f'{topic} ({kind})' for topic, kind in sorted(self.types.items())]
        has = f'its topics are {few(names, _SHOWN)}' if names else 'it has no topics at all'
        if not names and bag.damage:
            has, todo = next(iter(bag.damage.values())).partition(': ')[0], 'give another bag'
        return LfmError(ErrorCode.INVALID_VALUE, f'{bag.path} has {missing}, {has}: {todo}')


def _prefix(topic: str) -> str:
    """Return the name of the node to which a topic belongs, unless it was remapped."""
    return topic.rpartition('/')[0]
