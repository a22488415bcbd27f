# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the scheduler share."""
from contextlib import contextmanager
import threading

from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.scheduler import Scheduler
from support import GREEDY
from support import open_model
from support import WAIT


@contextmanager
def running(**options):
    """Run a scheduler; it is stopped at the end, whatever happens."""
    store = MissionStore(open_model(prefill_chunk=32), 'You are a robot.')
    scheduler = Scheduler(store, defaults=RequestDefaults(GREEDY, 6), **options)
    try:
        yield scheduler
    finally:
        scheduler.stop()


class Gate:
    """A receiver that holds the thread of the model at the first piece until it is opened."""

    def __init__(self):
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.deltas = []

    def __call__(self, piece):
        self.deltas.append(piece)
        self.reached.set()
        assert self.opened.wait(WAIT)


def answer_of(scheduler, prompt, **more):
    """Ask, and return the answer."""
    return scheduler.submit(Query(prompt, **more)).wait(WAIT)


def hold(scheduler, mission='held', tokens=60):
    """Begin an answer that goes on only when the gate is opened."""
    gate = Gate()
    request = scheduler.submit(Query('What?', mission, max_tokens=tokens), on_delta=gate)
    assert gate.reached.wait(WAIT)
    return gate, request


def twin(mission_id='m'):
    """Return a mission that the test itself runs; a runner belongs to one thread at a time."""
    model = open_model(prefill_chunk=32, variant='')  # another session than that of make()
    return MissionStore(model, 'You are a robot.').get_or_create(mission_id)


def prefill_all(mission):
    """Read what the scheduler reads while it is idle."""
    while mission.pending_sizes:
        mission.prefill_next()


def in_thread(scheduler, work, *missions):
    """Do work in the thread of the model and return its result."""
    return scheduler.submit_job(work, *missions).result(WAIT)
