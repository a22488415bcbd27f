# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model that is asked what recordings asked: in this process, or in one of a cluster."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import hashlib
import json
from pathlib import Path
from typing import Any

from lfm_ros.cli.option_names import with_option_names
from lfm_ros.cli.options import open_model
from lfm_ros.cli.options import sampling_of
from lfm_ros.cli.options import scheduler_of
from lfm_ros.engine.text.response_format import ResponseFormat
from lfm_ros.errors import LfmError
from lfm_ros.replay.bag import Bag
from lfm_ros.replay.camera_recording import CameraRecording
from lfm_ros.replay.events import Recording
from lfm_ros.replay.node_recording import NodeRecording
from lfm_ros.replay.runner import Runner
from lfm_ros.serving.query import Query

_OPTIONS = ('variant', 'provider', 'context', 'image_tokens', 'no_tiling', 'system', 'overflow',
            'max_tokens', 'node', 'topic', 'every', 'ask', 'schema')


class Worker:
    """
    Opens the model once, and asks it what one recording after the other asked.

    :ivar run: names the model and the options that answers depend on.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._model = open_model(arguments)
        parts = [self._model.folder.fingerprint, sampling_of(arguments),
                 *(getattr(arguments, name) for name in _OPTIONS)]
        self.run = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def results(self, recording: Recording, done: Sequence[dict[str, Any]],
                folder: Path | None = None) -> Iterator[dict[str, Any]]:
        """
        Yield the results of all questions that have none yet.

        :param done: the results that there are.
        :param folder: that keeps the missions meanwhile; None: they end with this.
        """
        with scheduler_of(self._model, self._arguments, folder) as scheduler:
            yield from Runner(scheduler, recording, self._arguments.timeout, done).results()


def recording_of(path: Path, arguments: argparse.Namespace) -> Recording:
    """
    Open a recording.

    :raises LfmError: INVALID_VALUE and others, when it has nothing to ask.
    """
    bag = Bag(path)
    if not arguments.topic:
        return NodeRecording(bag, arguments.node)
    response_format = ResponseFormat(arguments.schema)
    query = Query(arguments.ask, response_format=response_format)
    try:
        query.check()
    except LfmError as error:
        message = with_option_names(error.message, response_format.name)
        raise LfmError(error.code, message) from error
    return CameraRecording(bag, arguments.topic, query, arguments.every)
