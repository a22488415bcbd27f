# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The features of the images that a mission is reading."""
from __future__ import annotations

from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator

from lfm_ros.engine.model import Model
from lfm_ros.engine.runtime.ort_runs import CancelToken
from lfm_ros.engine.vision.image import PreparedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np


class ImageFeatures:
    """
    Encodes images as they are needed, and keeps their features until the turn ends.

    :ivar asked: the images of the question that is being answered; they are in no entry yet.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._features: dict[str, np.ndarray] = {}
        self.asked: tuple[PreparedImage, ...] = ()

    @property
    def nbytes(self) -> int:
        """Return the memory of the features."""
        return sum(features.nbytes for features in list(self._features.values()))

    def clear(self) -> None:
        """Let go of all of it."""
        self._features, self.asked = {}, ()

    def encode_tiles(self, image: PreparedImage, cancel_token: CancelToken | None = None
                     ) -> Generator[None, None, None]:
        """Encode an image unless that is done; yields after every tile."""
        if image.digest not in self._features:
            self._features[image.digest] = \
                yield from self._model.require_vision().encode_tiles(image, cancel_token)

    def features(self, images: Iterable[PreparedImage], ids: list[int], start: int, count: int,
                 cancel_token: CancelToken | None = None) -> np.ndarray | None:
        """
        Return the features for the image tokens of a chunk.

        :param images: all that the ids show, in order.
        :param ids: of the mission; ``count`` of them from ``start`` on are read.
        :returns: float32 ``[image tokens, hidden]``; None when there are none.
        """
        if self._model.image_id not in ids[start:start + count]:
            return None
        found = []
        for image, first, last in self._needed(images, ids, start, count):
            for _ in self.encode_tiles(image, cancel_token):
                pass
            found.append(self._features[image.digest][first:last])
        return np.concatenate(found)

    def prefetch(self, images: Iterable[PreparedImage], ids: list[int], start: int, count: int,
                 cancel_token: CancelToken | None = None) -> Generator[None, None, None]:
        """Have at hand what :meth:`features` will need; yields after every tile."""
        if self._model.image_id in ids[start:start + count]:
            for image, _, _ in self._needed(images, ids, start, count):
                yield from self.encode_tiles(image, cancel_token)

    def _needed(self, images: Iterable[PreparedImage], ids: list[int], start: int, count: int
                ) -> Iterator[tuple[PreparedImage, int, int]]:
        """Return the images whose tokens are among these ids, and which of their rows are."""
        image_id = self._model.require_vision().tokens.image
        before, wanted = ids[:start].count(image_id), ids[start:start + count].count(image_id)
        for image in images:
            if wanted and before < image.tokens:
                last = min(image.tokens, before + wanted)
                yield image, before, last
                wanted -= last - before
            before = max(0, before - image.tokens)
        if wanted:  # only a forged archive gets here
            raise LfmError(ErrorCode.MODEL_RUN_FAILED, 'an image of the mission is missing: '
                           'rewind the mission to before it, or delete the mission')
