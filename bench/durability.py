# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Measure what it costs to keep missions, and how fast they come back.

Turns are committed with checkpoints after every turn, every eight turns, and never. For each:
the time of a commit, the bytes written per turn, and the time to the first token after the
process was killed (nothing is put away) and after it ended properly. Against that stands reading
the mission again. The model is opened once; its load time is not in these figures.

    python bench/durability.py MODEL [--tokens 4000] [--turns 40]
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
import json
from pathlib import Path
import shutil
import statistics
import tempfile
import time

from lfm_ros.conversation.mission import Mission
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import Sampling
from lfm_ros.serving.answer import Answer
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import Query
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.storage import Storage

GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0)
LINE = 'The red toolbox was seen at waypoint 17 beside the second shelf of the north hall. '


class TimedStore(MissionStore):
    """A store that notes how long its commits take."""

    def commit(self, mission_id: str, changed: Mission | None = None) -> None:
        """Commit, and note the seconds."""
        started = time.perf_counter()
        super().commit(mission_id, changed)
        self.seconds = [*getattr(self, 'seconds', []), time.perf_counter() - started]


@contextmanager
def serving(model: Model, folder: Path, turns: int) -> Iterator[Scheduler]:
    """Run a scheduler on a folder; at the end nothing is put away."""
    storage = Storage(folder, model)
    retention = RetentionPolicy(checkpoint_turns=turns, checkpoint_idle=0.0)
    scheduler = Scheduler(TimedStore(model, '', retention, storage),
                          defaults=RequestDefaults(GREEDY, 16))
    yield scheduler
    scheduler.stop()
    storage.close()


def ask(scheduler: Scheduler, prompt: str, tokens: int) -> Answer:
    """Ask and wait for the answer."""
    answer = scheduler.submit(Query(prompt, max_tokens=tokens)).wait()
    assert not answer.error_code, answer.error_msg
    return answer


def fill(scheduler: Scheduler, turns: int, tokens: int) -> None:
    """Do turns until a mission has that many tokens, as many in each."""
    store = scheduler.store
    for turn in range(1, turns + 1):
        known = store.list()[0].tokens if store.list() else 0
        missing = max(8, tokens * turn // turns - known - 16)
        per_line = len(store.model.tokenizer.encode(LINE))
        ask(scheduler, LINE * max(1, missing // per_line), 16)


def come_back(model: Model, folder: Path, turns: int) -> float:
    """Return the seconds from the opening of the folder to the first token of an answer."""
    started = time.perf_counter()
    with serving(model, folder, turns) as scheduler:
        first: list[float] = []
        scheduler.submit(Query('And now?', max_tokens=4), on_delta=lambda _: first.append(
            time.perf_counter() - started)).wait()
    return first[0]


def measure(model: Model, folder: Path, turns: int, every: int, tokens: int) -> dict[str, object]:
    """Fill a mission and let it come back, killed and put away."""
    with serving(model, folder, every) as scheduler:
        fill(scheduler, turns, tokens)
        store = scheduler.store
        seconds = sorted(store.seconds)  # type: ignore[attr-defined]
        store.storage.flush()
        committed, log_bytes, state_bytes = store.written
        length = store.list()[0].tokens
    killed = come_back(model, folder, every)
    with serving(model, folder, every) as scheduler:
        ask(scheduler, 'And?', 4)
        scheduler.stop()
        scheduler.store.flush_all()
        stored = scheduler.store.list()[0].stored_bytes
    ended = come_back(model, folder, every)
    return {'tokens': length, 'commit_ms_p50': 1e3 * statistics.median(seconds),
            'commit_ms_p99': 1e3 * seconds[int(0.99 * (len(seconds) - 1))],
            'log_bytes_per_turn': log_bytes // committed,
            'state_bytes_per_turn': state_bytes // committed,
            'first_token_s_after_kill': killed, 'first_token_s_after_end': ended,
            'state_bytes_on_disk': stored}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('model')
    parser.add_argument('--tokens', type=int, default=4000)
    parser.add_argument('--turns', type=int, default=40)
    parser.add_argument('--folder', type=Path, help='on the disk to be measured')
    arguments = parser.parse_args()
    model = Model(arguments.model, ModelOptions(context_length=arguments.tokens + 512))
    model.end_ids = frozenset()  # every answer gets the same length
    model.warm_up()
    for name, every in {'every turn': 1, 'every 8 turns': 8, 'never': 0}.items():
        folder = Path(tempfile.mkdtemp(dir=arguments.folder))
        try:
            found = measure(model, folder, arguments.turns, every, arguments.tokens)
        finally:
            shutil.rmtree(folder)
        print(f'checkpoints {name}:', json.dumps(found), flush=True)
    started = time.perf_counter()
    state = model.new_state()
    for chunk in model.chunks([3] * arguments.tokens):
        model.runner.run(state, chunk)
    print(f'reading {arguments.tokens} tokens again: {time.perf_counter() - started:.2f} s')


if __name__ == '__main__':
    main()
