# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the log share: transcripts without a model, and what is on the disk."""
from contextlib import contextmanager
import os
from pathlib import Path
import random
import shutil
import tempfile

import cipher_support
from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.entry import OBSERVATION
from lfm_ros.conversation.entry import TURN
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.storage.durable_log import DurableLog

NAME = 'missions.db'
MEMORY = Path('/dev/shm')  # a file system in memory: nothing waits for a disk


def transcript(mission_id='m', entries=6, seed=0):
    """Make a transcript up; some of its texts are longer than a page of the file."""
    chance = random.Random(f'{mission_id}{seed}')
    found = Transcript(mission_id, 'f' * 64)
    for number in range(entries):
        say(found, number, chance)
    return found


def say(found, number, chance=random):
    """Add an entry."""
    sizes = [chance.randint(1, 9) for _ in range(chance.randint(1, 9))]
    found.push([chance.randrange(1 << 17) for _ in range(sum(sizes))], sizes)
    if not number:
        found.add(HEAD, 'You are a robot.')
    elif number % 3 == 2:
        found.add(OBSERVATION, f'It is dark, says {number}.', time=1.5)
    else:
        found.add(TURN, f'Whöre? 😀 {number}', 'There.\0 "\'' * chance.choice([1, 1, 150]), 'stop',
                  '{"temperature": 0.0}', 1e9 + number)


def same(found, expected):
    """Tell whether two transcripts say the same."""
    one, other = ((told.ids, told.chunk_sizes + told.pending_sizes, told.entries, told.slid,
                   told.fingerprint) for told in (found, expected))
    return one == other


def is_beginning(found, expected):
    """Tell whether a transcript is the first entries of another one."""
    count = len(found.entries)
    return [e.digest for e in found.entries] == [e.digest for e in expected.entries[:count]] \
        and found.ids == expected.ids[:expected.tokens_of(count)] \
        and [(e.prompt, e.text) for e in found.entries] == \
        [(e.prompt, e.text) for e in expected.entries[:count]]


@contextmanager
def quick_folder():
    """Make a folder in which writing takes no time, where the system has such a place."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix='lfm_ros-', dir=place) as folder:
        yield Path(folder)


class Opened:
    """A log in a folder, with what it noted; a context manager."""

    def __init__(self, folder):
        self.notes = []
        self.log = DurableLog(folder / NAME, self.notes.append, cipher_support.current)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.close()

    def prefill_all(self):
        """Return all missions."""
        names = [summary.mission_id for summary in self.log.log.list()]
        return {name: self.log.read(name) for name in names}


def filled(folder, killed=False, **missions):
    """
    Make a folder with a log that holds some missions.

    :param killed: leave it as a process that was killed does.
    :param missions: how many entries each one has.
    """
    made = {name: transcript(name, count) for name, count in missions.items()}
    place = folder.with_name(f'{folder.name}-live')
    place.mkdir(parents=True)
    with Opened(place) as opened:
        for round_ in range(1, max(missions.values()) + 1):
            for found in made.values():
                part = transcript(found.mission_id, min(round_, len(found.entries)))
                part.logged = min(round_ - 1, len(found.entries))
                opened.log.write(part, round_)
            if round_ == 3 and killed:  # some of it is in the file, some in the WAL
                opened.log.log.database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        if killed:
            shutil.copytree(place, folder)
    if not killed:
        shutil.copytree(place, folder)
    return made
