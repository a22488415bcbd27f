# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Use many missions in turn under a budget that holds only a few of them.

Prints the highest RSS against the budget, its slope over the last two thirds of the time, and how
long it takes to put one mission aside and bring another back.

    python bench/budget.py MODEL [--missions 100] [--tokens 2000] [--resident 4] [--minutes 30]
"""
from __future__ import annotations

import argparse
from pathlib import Path
import random
import shutil
import tempfile
import time

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import Sampling
from lfm_ros.process import return_large_memory
from lfm_ros.process import rss_bytes
from lfm_ros.serving.memory_budget import in_mb
from lfm_ros.serving.memory_budget import MARGIN
from lfm_ros.serving.memory_budget import mark_bytes
from lfm_ros.serving.memory_budget import MB
from lfm_ros.serving.memory_budget import mission_budget
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.storage import Storage
import numpy as np

LINE = 'The red toolbox was seen at waypoint 17 beside the second shelf of the north hall. '


class TimedStore(MissionStore):
    """A store that notes how long it takes to bring a mission back, room made for it included."""

    def get(self, mission_id: str) -> Mission:
        """Return a mission; note the seconds if it was put aside."""
        aside = self._records[mission_id].mission is None
        started = time.perf_counter()
        mission = super().get(mission_id)
        if aside:
            self.seconds = [*getattr(self, 'seconds', []), time.perf_counter() - started]
        return mission


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('model')
    parser.add_argument('--missions', type=int, default=100)
    parser.add_argument('--tokens', type=int, default=2000)
    parser.add_argument('--resident', type=int, default=4)
    parser.add_argument('--minutes', type=float, default=30.0)
    parser.add_argument('--folder', type=Path, help='on the disk to be used')
    arguments = parser.parse_args()
    return_large_memory()
    model = Model(arguments.model, ModelOptions(context_length=2 * arguments.tokens))
    model.probe_peak_memory()
    state = model.new_state()
    each = state.nbytes_at(arguments.tokens + 300) + mark_bytes(model)
    budget = int((rss_bytes() + MARGIN + (arguments.resident + 0.5) * each) // MB) + 1
    room = mission_budget(model, budget)
    print(f'budget {budget} MiB: process {in_mb(rss_bytes())}, states {in_mb(room)}, one mission '
          f'{in_mb(each)}', flush=True)
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    retention = RetentionPolicy(max_missions=arguments.missions, state_bytes_limit=room,
                                overflow='forget')
    store = TimedStore(model, '', retention, Storage(folder, model))
    scheduler = Scheduler(store, defaults=RequestDefaults(Sampling(), 16))
    try:
        use(scheduler, store, arguments, budget)
    finally:
        scheduler.stop()
        store.storage.close()
        shutil.rmtree(folder)


def use(scheduler: Scheduler, store: TimedStore, arguments: argparse.Namespace,
        budget: int) -> None:
    """Fill the missions, then ask them at random; watch the memory."""
    names = [f'mission {number}' for number in range(arguments.missions)]
    lines = (arguments.tokens - 64) // len(store.model.tokenizer.encode(LINE))
    highest = 0
    scheduler.submit(Query(LINE * lines, names[0], max_tokens=4)).wait()
    for name in names[1:]:  # reading the same text again would only take longer
        scheduler.submit_job(lambda name=name: store.fork(names[0], name)).result()
        highest = max(highest, rss_bytes())
    print(f'filled {len(names)} missions, highest RSS {in_mb(highest)} MB', flush=True)
    chance, started, answered = random.Random(1), time.monotonic(), 0
    store.seconds = []
    samples: list[tuple[float, float]] = []
    while (now := time.monotonic() - started) < 60 * arguments.minutes:
        answer = scheduler.submit(Query('Where?', chance.choice(names), max_tokens=8)).wait()
        assert not answer.error_code, answer.error_msg
        answered += 1
        samples.append((now, rss_bytes()))
        highest = max(highest, rss_bytes())
        if answered % 100 == 0:
            print(f'{now:6.0f} s {answered} answers, RSS {in_mb(rss_bytes())} MB', flush=True)
    late = np.array([s for s in samples if s[0] > 20 * arguments.minutes])
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0] * 60 / MB
    seconds = np.array(store.seconds)
    resident = sum(m.resident for m in store.list())
    print(f'{answered} answers, {resident} missions in memory at the end; highest RSS '
          f'{in_mb(highest)} of {budget} MB, slope {slope:.3f} MB per minute')
    print(f'putting one aside and bringing another back: {len(seconds)} times, p50 '
          f'{np.percentile(seconds, 50):.3f} s, p99 {np.percentile(seconds, 99):.3f} s')


if __name__ == '__main__':
    main()
