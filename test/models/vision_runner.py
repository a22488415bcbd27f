# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The plainest way to run an exported model that sees: three graphs under plain onnxruntime."""

from pathlib import Path

import no_telemetry  # noqa: F401
import numpy
import onnxruntime
from plain_runner import PlainRunner

_FLOATS = {'tensor(float)': numpy.float32, 'tensor(float16)': numpy.float16}


class PlainVisionRunner:
    """
    One prompt on one model; a second opinion that shares no code with the engine.

    :param vision: path of the vision encoder
    :param embedding: path of the graph that turns ids into vectors
    :param decoder: path of the decoder
    :param head_size: width of its key and value states
    :param image_id: id of an image token
    """

    def __init__(
            self, vision: Path, embedding: Path, decoder: Path, head_size: int,
            image_id: int) -> None:
        self._vision, self._embedding = (
            onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
            for path in (vision, embedding))
        self._decoder = PlainRunner(decoder, head_size)
        self._image_id = image_id

    def see(self, pixels: numpy.ndarray) -> numpy.ndarray:
        """
        Return the features [tokens, hidden] of a picture.

        :param pixels: uint8 [height, width, 3], both sizes multiples of 32
        """
        rows, columns = pixels.shape[0] // 16, pixels.shape[1] // 16
        tiles = pixels.reshape(rows, 16, columns, 16, 3).transpose(0, 2, 1, 3, 4)
        values = tiles.reshape(1, rows * columns, 768) / 127.5 - 1
        first, mask, shape = self._vision.get_inputs()
        length = first.shape[1] if isinstance(first.shape[1], int) else rows * columns
        padded = numpy.zeros((1, length, 768), _FLOATS[first.type])
        padded[:, :rows * columns] = values
        real = (numpy.arange(length) < rows * columns).astype(numpy.int64)[None]
        return self._vision.run(None, {
            first.name: padded, mask.name: real,
            shape.name: numpy.array([[rows, columns]])})[0].astype(numpy.float32)

    def start(self, ids: list[int], features: numpy.ndarray) -> numpy.ndarray:
        """Return the log-probabilities [vocabulary] after a prompt whose pictures were seen."""
        self._decoder.reset()
        return self._feed(ids, features)

    def go_on(self, token: int) -> numpy.ndarray:
        """Return the log-probabilities [vocabulary] after one more id."""
        return self._feed([token], numpy.zeros((0, self._hidden), numpy.float32))

    @property
    def _hidden(self) -> int:
        """Return the length of a vector."""
        return self._embedding.get_outputs()[0].shape[2]

    def _feed(self, ids: list[int], features: numpy.ndarray) -> numpy.ndarray:
        """Return the log-probabilities after the last of `ids`."""
        inputs = [item.name for item in self._embedding.get_inputs()]
        feeds = {'input_ids': numpy.array([ids], numpy.int64)}
        if 'image_features' in inputs:
            feeds['image_features'] = features
        embeds = self._embedding.run(None, feeds)[0].astype(numpy.float32)
        if 'image_features' not in inputs:
            embeds[0, numpy.array(ids) == self._image_id] = features
        return self._decoder.feed(ids, embeds)[-1]
