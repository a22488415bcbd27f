# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a recording asks of a model, in its order."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from typing import Protocol

from lfm_ros.engine.vision.image import ImageSource
from lfm_ros.errors import LfmError
from lfm_ros.serving.query import Query


@dataclass(frozen=True)
class Question:
    """
    A question.

    :param number: of it in its recording, from 0.
    :param time: when it was recorded, in nanoseconds since 1970.
    :param recorded: the ``msg/Response`` to it; None: there is none.
    :param error: why its images cannot be used.
    """

    number: int
    time: int
    topic: str
    query: Query
    recorded: Any = None
    error: LfmError | None = None


@dataclass(frozen=True)
class Observed:
    """
    An observation.

    :param before: the number of the question that comes next.
    :param error: why its images cannot be used.
    """

    before: int
    mission_id: str
    text: str
    images: tuple[ImageSource, ...] = ()
    error: LfmError | None = None


class Recording(Protocol):
    """A source of questions."""

    @property
    def count(self) -> int:
        """How many questions it has."""

    @property
    def notices(self) -> list[str]:
        """Sentences on what is wrong with it, although it can be read."""

    def events(self) -> Iterator[Question | Observed]:
        """Yield what it asks; each time from its beginning."""
