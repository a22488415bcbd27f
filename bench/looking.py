# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Time the steps from a picture to the first token; no ROS is needed."""
from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.engine.model import Model
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.vision.image import decode
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.serving.query import Query
from lfm_ros.serving.turn import Turn

GREEDY = Sampling(temperature=0.0)
STEPS = ('decode', 'preprocess', 'encode', 'prefill', 'in all', 'second question')


def measure(model: Model, data: bytes) -> list[float]:
    """Return the seconds of each of :data:`STEPS`."""
    sight = model.require_vision()
    sight.shrink(0)
    times, result = [], None
    works: list[Callable[[Any], Any]] = [
        lambda _: decode(data), sight.processor.prepare, sight.features]
    for work in works:
        started = time.perf_counter()
        result = work(result)
        times.append(time.perf_counter() - started)
    mission = Mission('bench', model, model.template.preamble())
    usage = ask(mission, 'What do you see?', EncodedImage(data))  # its features are known
    times.append(usage.time_to_first_token - usage.image_seconds)
    times.append(sum(times))
    times.append(ask(mission, 'What colour is it?').time_to_first_token)
    return times


def ask(mission: Mission, prompt: str, *images: EncodedImage) -> Any:
    """Do one turn and return what it cost."""
    turn = Turn(mission, Query(prompt, images=images), GREEDY, Limits(2))
    for phase in (turn.prepare_images(), turn.steps()):
        for _ in phase:
            pass
    return turn.usage(0.0)
