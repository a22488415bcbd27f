# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find the recorded answer to each question."""
from __future__ import annotations

from collections import defaultdict
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfm_ros.replay.frames import Stamp
from lfm_ros.replay.frames import stamp_of


@dataclass(frozen=True)
class Asked:
    """
    What a question tells of its answer.

    :param request_id: empty: the node generated one.
    :param images: how many came with it.
    """

    request_id: str
    mission_id: str
    use_camera: bool = False
    images: int = 0


@dataclass(frozen=True)
class Recorded:
    """
    A recorded answer.

    :param time: when it was recorded, in nanoseconds since 1970.
    :param stamp: of the frame of the camera that it is about; None: of none.
    """

    response: Any
    time: int
    stamp: Stamp | None


def match(asked: Sequence[Asked], responses: Sequence[tuple[int, Any]]
          ) -> tuple[list[Recorded | None], int]:
    """
    Return the answer to each question, and how many answers have no question.

    A node answers with the request_id of the question. Where that is empty, the answers with
    other ids belong to the questions of their mission in order.

    :param responses: times and messages, in the order in which they were recorded.
    """
    ids = {each.request_id for each in asked} - {''}
    by_id: dict[str, deque[tuple[int, Any]]] = defaultdict(deque)
    by_mission: dict[str, deque[tuple[int, Any]]] = defaultdict(deque)
    for time, response in responses:
        if response.request_id in ids:
            by_id[response.request_id].append((time, response))
        else:
            by_mission[response.mission_id].append((time, response))
    found: list[Recorded | None] = []
    for each in asked:
        answers = by_id[each.request_id] if each.request_id else by_mission[each.mission_id]
        found.append(_recorded(each, *answers.popleft()) if answers else None)
    return found, sum(map(len, (*by_id.values(), *by_mission.values())))


def _recorded(asked: Asked, time: int, response: Any) -> Recorded:
    headers = response.image_headers
    has_frame = asked.use_camera and len(headers) == asked.images + 1
    return Recorded(response, time, stamp_of(headers[-1]) if has_frame else None)
