# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The process that bench/kills.py kills: the scheduler and the store, on a folder."""
from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

import cipher_support
from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.model import Model
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.serving import mission_store
from lfm_ros.serving.memory import MissionMemory
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.running_requests import RunningRequests
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.checkpoints import Checkpoints
from lfm_ros.storage.storage import Storage
from support import GREEDY
from vision_support import image

SYSTEM = 'You are a robot.'
PHASES = ['opening', 'waiting', 'prefill', 'decode', 'commit', 'eviction', 'restoring', 'other']
WORKING = PHASES.index('prefill')
TOKENS = 5


def shown(model: Model, prompt: str) -> tuple[EncodedImage, ...]:
    """Return what a model that sees is shown with a prompt, which ends with its number."""
    number = int(prompt.split()[-1])
    return (image(seed=number),) if model.vision and number % 3 == 0 else ()


def instrument(phase: mmap.mmap) -> None:
    """Tell in shared memory what is being done: byte 0 in the thread of the model, 1 beside it."""
    def wrap(owner: Any, name: str, number: int, place: int = 0) -> None:
        real = getattr(owner, name)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            before, phase[place] = phase[place], number
            try:
                return real(*arguments, **more)
            finally:
                phase[place] = before
        setattr(owner, name, wrapped)

    wrap(MissionStore, 'commit', PHASES.index('commit'))
    wrap(MissionMemory, 'evict', PHASES.index('eviction'))
    wrap(mission_store, 'restore', PHASES.index('restoring'))
    wrap(MissionStore, 'maintain', PHASES.index('other'))
    wrap(Mission, 'prefill_next', WORKING)
    wrap(RunningRequests, '_advance', PHASES.index('decode'))
    wrap(Checkpoints, 'write', 1, place=1)


def live(model: Model, folder: Path, phase: mmap.mmap, commands: int, answers: int,
         room: int) -> None:
    """Be the child: do what is asked, say what was done."""
    instrument(phase)
    out = os.fdopen(answers, 'w')
    storage = Storage(folder, model, cipher_support.current)
    retention = RetentionPolicy(max_missions=10000, checkpoint_turns=1 + os.getpid() % 2,
                                checkpoint_idle=0.05, state_bytes_limit=room,
                                device_bytes_limit=room)
    store = MissionStore(model, SYSTEM, retention, storage)
    said = {info.mission_id: [[e.kind, e.prompt, e.text] for e in storage.read(
        info.mission_id).entries[1:]] for info in store.list()}
    print(json.dumps({'said': said, 'notice': storage.notice,
                      'trouble': storage.durability_error}), file=out, flush=True)
    scheduler = Scheduler(store, queue_size=64, defaults=RequestDefaults(GREEDY, TOKENS))
    phase[0] = PHASES.index('waiting')

    def done(number: int, text: str = '', failure: str = '') -> None:
        print(json.dumps({'number': number, 'text': text, 'failure': failure}), file=out,
              flush=True)

    for line in os.fdopen(commands):
        number, what, *arguments = json.loads(line)
        if what == 'ask':
            query = Query(arguments[1], arguments[0], images=shown(model, arguments[1]))
            scheduler.submit(query, on_answer=lambda answer, number=number: done(
                number, answer.text, answer.error_msg))
        else:
            future = scheduler.submit_job(
                lambda what=what, values=arguments: getattr(store, what)(*values),
                *arguments[:2 if what == 'fork' else 1])
            future.add_done_callback(lambda future, number=number: done(
                number, failure=str(future.exception() or '')))
