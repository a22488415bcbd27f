# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a mission looks at while it reads."""
from __future__ import annotations

from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator

from lfm_ros.engine.model import Model
from lfm_ros.engine.picture import Picture
from lfm_ros.engine.runner import Interrupt
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np


class Sight:
    """
    The features of pictures that are being read.

    :ivar asked: the pictures of the question that is being answered; they are in no entry yet.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._features: dict[str, np.ndarray] = {}
        self.asked: tuple[Picture, ...] = ()

    @property
    def nbytes(self) -> int:
        """Return the memory of the features."""
        return sum(features.nbytes for features in list(self._features.values()))

    def clear(self) -> None:
        """Let go of all of it."""
        self._features, self.asked = {}, ()

    def look(self, picture: Picture, interrupt: Interrupt | None = None
             ) -> Generator[None, None, None]:
        """Have the features of a picture at hand; yields after every tile that is encoded."""
        if picture.digest not in self._features:
            self._features[picture.digest] = \
                yield from self._model.sight().look(picture, interrupt)

    def features(self, pictures: Iterable[Picture], ids: list[int], start: int, count: int,
                 interrupt: Interrupt | None = None) -> np.ndarray | None:
        """
        Return the features for the image tokens of a call.

        :param pictures: all that the ids show, in order.
        :param ids: of the mission; ``count`` of them from ``start`` on are read.
        :returns: float32 ``[image tokens, hidden]``; None when there are none.
        """
        if self._model.image_id not in ids[start:start + count]:
            return None
        found = []
        for picture, first, last in self._needed(pictures, ids, start, count):
            for _ in self.look(picture, interrupt):
                pass
            found.append(self._features[picture.digest][first:last])
        return np.concatenate(found)

    def look_ahead(self, pictures: Iterable[Picture], ids: list[int], start: int, count: int,
                   interrupt: Interrupt | None = None) -> Generator[None, None, None]:
        """Have at hand what :meth:`features` will need; yields after every tile."""
        if self._model.image_id in ids[start:start + count]:
            for picture, _, _ in self._needed(pictures, ids, start, count):
                yield from self.look(picture, interrupt)

    def _needed(self, pictures: Iterable[Picture], ids: list[int], start: int, count: int
                ) -> Iterator[tuple[Picture, int, int]]:
        """Return the pictures whose tokens are among these ids, and which of their rows are."""
        image_id = self._model.sight().tokens.image
        before, wanted = ids[:start].count(image_id), ids[start:start + count].count(image_id)
        for picture in pictures:
            if wanted and before < picture.tokens:
                last = min(picture.tokens, before + wanted)
                yield picture, before, last
                wanted -= last - before
            before = max(0, before - picture.tokens)
        if wanted:  # only an archive that somebody made up gets here
            raise LfmError(ErrorCode.MODEL_RUN_FAILED, 'the mission lacks an image that it was '
                           'shown: delete it, or rewind it to before the image')
