#!/usr/bin/env python3
# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Kill a process that keeps missions at random moments, again and again, and look what is lost.

A child runs the real scheduler and store on a folder; this process asks it, rewinds, forks and
deletes, and kills it with SIGKILL while it works. After every restart each mission must hold all
that was acknowledged, and what was in progress whole or not at all. In the end every mission must
be, token for token and bit for bit of its state, what an uninterrupted one is that was told the
same. With --faults, every operation on the disk is made to fail instead, one after the other.
"""
from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
import errno
from functools import partial
import json
import logging
import mmap
import os
from pathlib import Path
import random
import select
import signal
import sys
import time
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'test' / 'support')]

import cipher_support  # noqa: E402
from kill_child import live  # noqa: E402, I100
from kill_child import PHASES  # noqa: E402
from kill_child import shown  # noqa: E402
from kill_child import SYSTEM  # noqa: E402
from kill_child import TOKENS  # noqa: E402
from lfm_ros.conversation.entry import OBSERVATION  # noqa: E402
from lfm_ros.conversation.entry import TURN  # noqa: E402
from lfm_ros.engine.model import Model  # noqa: E402
from lfm_ros.engine.model_options import ModelOptions  # noqa: E402
from lfm_ros.serving.mission_store import MissionStore  # noqa: E402
from lfm_ros.serving.retention import RetentionPolicy  # noqa: E402
from lfm_ros.storage.storage import Storage  # noqa: E402
from log_support import quick_folder  # noqa: E402
import numpy as np  # noqa: E402
from storage_support import render_once  # noqa: E402
from support import folder  # noqa: E402
from support import open_model  # noqa: E402
import vision_support  # noqa: E402
from vision_support import answer  # noqa: E402
from waiting import WAIT  # noqa: E402

WORDS = ['Where is the dock?', 'Go there.', 'What do you see on the table? ' * 2, 'And?', 'é 😀']
MAX_LENGTH = 9      # entries of a mission before it is cut
AT_ONCE = 4      # requests on their way


class Truth:
    """
    What one mission may hold.

    :ivar sure: what was acknowledged; None: it is not there.
    :ivar maybe: what it may hold instead, by the number of the request that makes it so; an
        answer that is not known yet is None.
    """

    def __init__(self) -> None:
        self.sure: list[Any] | None = None
        self.maybe: list[tuple[int, list[Any] | None]] = []

    @property
    def newest(self) -> list[Any] | None:
        """Return what it holds when all is done."""
        return self.maybe[-1][1] if self.maybe else self.sure

    def done(self, number: int, text: str, durable: bool) -> None:
        """Take note of an acknowledgement."""
        for place, (each, state) in enumerate(self.maybe):
            if each == number:
                if text and state:
                    state[-1][2] = text  # shared with the states after it
                if durable:
                    self.sure = state
                    del self.maybe[:place + 1]
                return

    def flush(self, found: list[Any] | None) -> bool:
        """Take what a restart found for the truth; tell whether it may be."""
        fits = any(_fits(found, state) for state in [self.sure, *(s for _, s in self.maybe)])
        self.sure, self.maybe = found, []
        return fits


def _fits(found: list[Any] | None, state: list[Any] | None) -> bool:
    if found is None or state is None:
        return found is state
    return len(found) == len(state) and all(
        f[:2] == s[:2] and s[2] in (None, f[2]) for f, s in zip(found, state))


class Killer:
    """
    Asks, kills and compares.

    :param model: of the missions; it must not be run in this process before the last child.
    :param room: states that are in memory at a time.
    :param reopen: opens the model of each child, and of the comparison; None: it is that one.
    """

    def __init__(self, model: Model, folder: Path, missions: int, seed: int = 0,
                 room: int = 6, reopen: Callable[[], Model] | None = None) -> None:
        self.model, self.folder = model, folder
        self._reopen = reopen or (lambda: model)
        render_once(model, SYSTEM)
        self.chance = random.Random(seed)
        self.truth = {f'm{number}': Truth() for number in range(missions)}
        self.room = room * model.new_state().nbytes_at(400)
        self.phase = mmap.mmap(-1, 2)
        self.hits: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.losses: list[str] = []
        self.acknowledged = self.turns = self._number = 0
        self._waiting: dict[int, list[Any]] = {}

    def life(self, until: float | None, early: bool = False) -> None:
        """
        Let a child live.

        :param until: seconds until it is killed; None: it finishes what it was asked.
        :param early: they count from its beginning, not from when it has opened the missions.
        """
        self.phase[:2] = b'\0\0'
        self._waiting.clear()
        down, up = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            os.close(down[1])
            os.close(up[0])
            try:
                live(self._reopen(), self.folder, self.phase, down[0], up[1], self.room)
            except BaseException:
                logging.exception('the child failed')
                os._exit(1)
            os._exit(0)
        os.close(down[0])
        os.close(up[1])
        with os.fdopen(down[1], 'w') as commands, os.fdopen(up[0], 'rb', 0) as answers:
            status = self._talk(child, commands, answers, until, early)
        if status not in (0, signal.SIGKILL):
            self.losses.append(f'a child ended with status {status}')

    def _talk(self, child: int, commands: Any, answers: Any, until: float | None,
              early: bool) -> int:
        text, left = b'', 60 if until is None else 1 << 30
        end = time.monotonic() + until if until is not None and early else None
        while True:
            wait = WAIT if end is None else max(0.0, end - time.monotonic())
            ready, _, _ = select.select([answers], [], [], wait)
            if ready:
                data = answers.read(1 << 16)
                if not data:
                    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if until is not None and end is None:
                    end = time.monotonic() + until
                *lines, text = (text + data).split(b'\n')
                for line in lines:
                    self._drain_observations(json.loads(line))
                while len(self._waiting) < AT_ONCE and left and lines:
                    left -= 1
                    # In the end each mission is asked once more, so that all are compared.
                    self._send(commands, list(self.truth)[left] if left < len(self.truth) else '')
            if until is None and (not ready or not left and not self._waiting):
                if not ready:
                    self.losses.append('there was no answer')
                os.kill(child, signal.SIGKILL)
                return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            if end is not None and time.monotonic() >= end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                self.hits[PHASES[self.phase[0]]] += 1
                self.hits['while a checkpoint is written'] += self.phase[1]
                for line in (text + answers.read()).split(b'\n')[:-1]:
                    self._drain_observations(json.loads(line))  # it had been acknowledged
                return signal.SIGKILL

    def _send(self, commands: Any, asked: str = '') -> None:
        name = asked or self.chance.choice(list(self.truth))
        truth = self.truth[name]
        state = truth.newest
        what = 'ask' if asked else self.chance.choice(
            ['ask'] * 12 + ['observe'] * 3 + ['rewind', 'fork', 'reset', 'delete', 'save'])
        self._number += 1
        arguments: list[Any] = [name]
        if state is None and what not in ('ask', 'observe'):
            what = 'ask'
        elif state and len(state) >= MAX_LENGTH and not asked:
            what = 'rewind'
        after: list[Any] | None = list(state or [])
        assert after is not None
        if what in ('ask', 'observe'):
            prompt = f'{self.chance.choice(WORDS)} {self._number}'
            arguments.append(prompt)
            after.append([TURN, prompt, None] if what == 'ask' else [OBSERVATION, prompt, ''])
        elif what == 'rewind':
            keep = self.chance.randint(0, sum(kind == TURN for kind, *_ in after))
            arguments.append(keep)
            ends = [n + 1 for n, (kind, *_) in enumerate(after) if kind == TURN]
            after = after[:[0, *ends][keep]]
        elif what == 'fork':
            name = self.chance.choice(list(self.truth))
            if self.truth[name].newest is not None or any(name in w for w in
                                                          self._waiting.values()):
                return
            arguments.append(name)
            truth = self.truth[name]
        elif what == 'reset':
            after = []
        elif what == 'delete':
            after = None
        truth.maybe.append((self._number, after))
        self._waiting[self._number] = [what, name]
        print(json.dumps([self._number, what, *arguments]), file=commands, flush=True)

    def _drain_observations(self, message: dict[str, Any]) -> None:
        if 'said' in message:
            for name, truth in self.truth.items():
                before = (truth.sure, list(truth.maybe))
                if not truth.flush(message['said'].get(name)):
                    self.losses.append(f'{name} holds {truth.sure}, not {before}')
            if message['trouble'] or 'damaged' in message['notice']:
                self.losses.append(message['trouble'] or message['notice'])
            return
        what, name = self._waiting.pop(message['number'])
        if message['failure']:
            self.failures[message['failure'][:80]] += 1
            self.losses.append(message['failure'])
        elif what == 'ask':
            self.acknowledged += 1
        self.truth[name].done(message['number'], message['text'], what != 'observe')

    def compare(self) -> int:
        """Compare all missions with those that were never interrupted; return how many turns."""
        self.model = self._reopen()
        storage = Storage(self.folder, self.model, cipher_support.current)
        store = MissionStore(self.model, SYSTEM, RetentionPolicy(max_missions=10000), storage)
        empty_mission, turns = MissionStore(self.model, SYSTEM), 0
        for info in store.list():
            mission, twin = store.get(
                info.mission_id), empty_mission.get_or_create(info.mission_id)
            for entry in mission.entries[1:]:
                if entry.kind == TURN:
                    answer(twin, entry.prompt, *shown(self.model, entry.prompt), tokens=TOKENS)
                    turns += 1
                else:
                    twin.observe(entry.prompt)
            for each in (mission, twin):
                each.prefill_all()
            ours, theirs = mission.state.arrays(), twin.state.arrays()
            if mission.ids != twin.ids or mission.chunk_sizes != twin.chunk_sizes or \
                    any(not np.array_equal(ours[name], theirs[name]) for name in theirs):
                self.losses.append(f'{info.mission_id} is not what was told')
        storage.close()
        return turns


def kill_often(model: Model, folder: Path, kills: int, missions: int, seed: int = 0,
               longest: float = 0.5, reopen: Callable[[], Model] | None = None) -> Killer:
    """Kill a child so many times, and compare what is left."""
    killer = Killer(model, folder, missions, seed, reopen=reopen)
    for number in range(kills):
        # Every third one dies early, while it opens what the last one left.
        early = number % 3 == 0
        killer.life(killer.chance.uniform(0, 0.06 if early else longest), early)
    killer.life(None)
    killer.turns = killer.compare()
    return killer


def fail_often() -> int:
    """Let every operation on the disk fail, one after the other; return how often it was bad."""
    from fault_support import FailingDisk
    from fault_support import FOREVER
    from fault_support import SHORT
    bad = count = kills = 0
    with quick_folder() as place, FailingDisk(place) as disk:
        print(f'{disk.operations} operations on the disk')
        for first in range(1, disk.operations + 2):
            for error in (errno.ENOSPC, errno.EIO, errno.EROFS, SHORT):
                for mode in ('once', 'forever', 'heals'):
                    end = first + 1 if mode == 'once' else FOREVER
                    wrong = disk.check(first=first, end=end, errno=error, heals=mode == 'heals')
                    count += 1
                    if wrong:
                        bad += 1
                        print(f'{first} {errno.errorcode.get(error, "short")} {mode}: {wrong}')
        for slides, last in ((False, disk.operations), (True, disk.slid_operations)):
            for at in range(1, last + 1):
                kills += 1
                if wrong := disk.kill(at, slides):
                    bad += 1
                    print(f'{at} killed{" while turns leave" * slides}: {wrong}')
    print(f'{kills} stories were killed and in {count} the disk failed: {bad} went wrong')
    return bad


def open_on(provider: str, name: str, place: Path) -> Model:
    """Open a fixture on a provider, its graph edited so that a device can take turns back."""
    from lfm_ros.prepare.open_model import open_prepared
    return open_prepared(str(folder(name)), ModelOptions(
        threads=1, prefill_chunk=16, providers=[provider, 'CPUExecutionProvider'],
        max_batch_size=2), cache_dir=place / 'cache')


def opened(name: str, kv: str, place: Path) -> Model:
    """Open a fixture, of models that see too, or what `lfm prepare` makes of it."""
    if name in vision_support.NAMES:
        return vision_support.open_model(name, prefill_chunk=16)
    if not kv:
        return open_model(name, prefill_chunk=16)
    from lfm_ros.prepare.folder import prepare
    from lfm_ros.prepare.folder import PrepareOptions
    prepare(folder(name), place / 'model', options=PrepareOptions(kv=kv))
    return Model(place / 'model', ModelOptions(threads=1, prefill_chunk=16))


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=300)
    parser.add_argument('--missions', type=int, default=20)
    parser.add_argument('--model', default='lfm2-int4', help='a fixture of test/models, or of '
                        'test/models/vision, which is shown pictures')
    parser.add_argument('--kv', choices=('int8',), default='',
                        help='prepare the fixture with keys and values of 8 bits')
    parser.add_argument('--provider', default='', help='of the processes that are killed; a '
                        'device cannot be handed down to a child, so each opens the model anew')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--dir', type=Path, help='on the disk to try; default: in memory')
    parser.add_argument('--faults', action='store_true')
    args = parser.parse_args()
    if args.faults:
        return int(fail_often() > 0)
    logging.disable(logging.WARNING)
    with quick_folder() as place:
        reopen = partial(open_on, args.provider, args.model, place) if args.provider else None
        killer = kill_often(opened(args.model, args.kv, place), (args.dir or place) / 'missions',
                            args.kills, args.missions, args.seed, reopen=reopen)
    print(f'kills: {args.kills}, turns acknowledged: {killer.acknowledged}, turns in the end: '
          f'{killer.turns}')
    for name, count in killer.hits.most_common():
        print(f'  killed in {name}: {count}')
    print(f'losses: {len(killer.losses)}')
    for loss in killer.losses[:10]:
        print(f'  {loss[:1000]}')
    return int(bool(killer.losses))


if __name__ == '__main__':
    sys.exit(main())
