# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a store, its missions are those of one to which nothing ever happened."""
import random

from cipher_support import PLAIN
from cipher_support import SEALED
from cipher_support import using
from lfm_ros.conversation.context_window import FORGET
from lfm_ros.conversation.context_window import REFUSE
from lfm_ros.conversation.context_window import SLIDE
import pytest
from storage_support import files_in
from storage_support import place  # noqa: F401
from storage_support import Twins
from storage_support import WORDS

NAMES = ['a', 'b', 'c', 'd']
STEPS = ['ask'] * 8 + ['observe'] * 2 + [
    'evict', 'evict', 'maintain', 'maintain', 'save', 'close', 'kill', 'read', 'fork',
    'rewind', 'reset', 'delete', 'spoil']


class Steps:
    """
    Random steps of a pair of stores.

    :param spoils: whether checkpoints may get lost.
    """

    def __init__(self, twins: Twins, seed: int, spoils: bool):
        self.twins = twins
        self.chance = random.Random(seed)
        self.spoils = spoils
        self.done: list[str] = []

    def step(self):
        """Do one."""
        names = [info.mission_id for info in self.twins.twin.list()]
        what = self.chance.choice(STEPS)
        name = self.chance.choice(NAMES if what in ('ask', 'observe') or not names else names)
        self.done.append(f'{what} {name}')
        if name in names or what in ('ask', 'observe', 'close', 'kill', 'maintain'):
            getattr(self, what)(name)

    def ask(self, name):
        self.twins.tell(name, f'{self.chance.choice(WORDS)} {len(self.done)}',
                        self.chance.randint(1, 9))

    def observe(self, name):
        self.twins.both('observe', name, f'It is {len(self.done)} now.')
        if self.chance.random() < 0.5:
            self.twins.store.maintain(0)

    def evict(self, name):
        self.twins.store.evict(name)

    def save(self, name):
        self.twins.store.save(name)

    def read(self, name):
        mission = self.twins.store.get(name)
        if mission.pending_sizes:
            mission.prefill_next()

    def maintain(self, _):
        self.twins.store.maintain(self.chance.choice([0.0, 60.0]))

    def close(self, _):
        self.twins.reopen()

    def kill(self, _):
        self.twins.store.maintain(0)  # or observations are lost, as they may be
        self.twins.store.storage.flush()
        self.twins.reopen(kill=True)

    def spoil(self, _):
        """Lose some checkpoints, also while it runs."""
        if self.spoils:
            def lose(folder):
                for file in files_in(folder):
                    if self.chance.random() < 0.4:
                        file.unlink()
            if self.chance.random() < 0.5:
                self.twins.store.storage.flush()
                lose(self.twins.folder)
            else:
                self.twins.reopen(spoil=lose)

    def fork(self, name):
        self.twins.both('fork', name, self.chance.choice(NAMES))

    def rewind(self, name):
        turns = self.twins.twin.get(name).turn_count
        if self.twins.twin.get(name).slid:
            turns = 0  # what it goes back to exactly depends on the marks that are in memory
        self.twins.both('rewind', name, self.chance.randint(0, turns))

    def reset(self, name):
        if self.chance.random() < 0.3:
            self.twins.both('reset', name)

    def delete(self, name):
        if self.chance.random() < 0.5:
            self.twins.both('delete', name)


@pytest.mark.parametrize(('cipher', 'seed'), [
    *((PLAIN, seed) for seed in range(4)), *((SEALED, seed) for seed in (4, 5))])
@pytest.mark.parametrize(('overflow', 'name'), [
    (REFUSE, 'lfm2-int4'), (FORGET, 'lfm2-int4'), (SLIDE, 'lfm2-int4'), (REFUSE, 'lfm2-fp16'),
    (FORGET, 'qwen3'), (SLIDE, 'lfm2-odd'), (REFUSE, 'lfm2-int8-state')])
def test_a_random_sequence_leaves_what_it_would_without_a_disk(
        place, overflow, name, seed, cipher):  # noqa: F811
    with using(cipher):
        do_random_steps(place, overflow, name, seed)


def do_random_steps(folder, overflow, name, seed):
    """Do them, and compare with a store without a disk."""
    twins = Twins(folder, name, context=200, overflow=overflow, checkpoint_turns=2)
    steps = Steps(twins, seed, spoils=overflow != SLIDE)
    try:
        for count in range(1, 61):
            steps.step()
            if count % 20 == 0:
                twins.check()
    except BaseException:
        print(steps.done)
        raise
    twins.close()
