# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the storage share: a store on a disk beside one that is never closed."""
from contextlib import suppress
from pathlib import Path
import shutil

import cipher_support
from lfm_ros.engine.decoding.limits import Limits
from lfm_ros.errors import LfmError
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.storage.storage import Storage
from log_support import quick_folder
import pytest
from support import assert_same
from support import begin
from support import check_invariants
from support import GREEDY
from support import open_model

SYSTEM = 'You are a robot.'
WORDS = ['Where is the dock?', 'Go there.', 'What do you see on the table? ' * 3, 'And?', 'é 😀']


@pytest.fixture
def place():
    """Return a folder for missions that is not there yet."""
    with quick_folder() as folder:
        yield folder / 'missions'


def open_store(folder, model, system=SYSTEM, **retention):
    """Open a store as a node does."""
    storage = Storage(folder, model, cipher_support.current)
    try:
        return MissionStore(model, system, RetentionPolicy(**retention), storage)
    except BaseException:
        storage.close()
        raise


def render_once(model, system=SYSTEM):
    """
    Have a model remember what stands before the first turn.

    A template is rendered in a process of its own, which each process that is forked from this one
    would have to start.
    """
    preamble, head = model.template.preamble, model.template.preamble(system)
    model.template.preamble = lambda asked='', *more: list(head) if (asked, more) == (
        system, ()) else preamble(asked, *more)


def close(store):
    """Close a store as a node does that is shut down."""
    store.flush_all()
    store.storage.close()


def tell(store, mission_id, prompt, tokens=4):
    """Do one turn as the scheduler does, and return its text."""
    store.memory.busy.add(mission_id)
    try:
        mission = store.get_or_create(mission_id)
        turn = begin(mission, prompt, GREEDY, Limits(tokens))
        store.memory.reserve(mission, turn.tokens_after)
        for _ in turn.steps():
            pass
        store.commit(mission_id)
    finally:
        store.memory.busy.clear()
    return turn.generation.text


def told(store, mission_id):
    """Return all that was said in a mission, as the digests of its entries."""
    mission = store.get(mission_id)
    check_invariants(mission)
    return [entry.digest for entry in mission.entries]


def files_in(folder, ending='.safetensors'):
    """Return the checkpoint files of a folder."""
    return sorted(file for file in (folder / 'states').iterdir() if file.name.endswith(ending))


def copy_if_there(source, target):
    """Copy a file that may get another name meanwhile: a checkpoint may be on its way."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


class Twins:
    """
    A store on a disk and one in memory: they are told the same, only the first is ever closed.

    :param retention: of the first; the second has no need of a budget.
    """

    def __init__(self, folder: Path, name: str = 'lfm2-int4', context: int = 512, **retention):
        self.folder = folder
        self.model = open_model(name, prefill_chunk=16, context_length=context)
        self.retention = retention
        self.store = open_store(folder, self.model, **retention)
        rest = {name: value for name, value in retention.items() if name != 'state_bytes_limit'}
        self.twin = MissionStore(self.model, SYSTEM, RetentionPolicy(**rest))

    def tell(self, mission_id, prompt, tokens=4):
        """Ask both, compare the answers, or the codes of their errors."""
        found = []
        for store in (self.store, self.twin):
            try:
                found.append(tell(store, mission_id, prompt, tokens))
            except LfmError as error:
                found.append(error.code)
        assert found[0] == found[1]
        return found[0]

    def both(self, what, *arguments):
        """Do the same to both; return the error code, if it was refused."""
        codes = []
        for store in (self.store, self.twin):
            try:
                getattr(store, what)(*arguments)
                codes.append(0)
            except LfmError as error:
                codes.append(error.code)
        assert codes[0] == codes[1], (what, arguments)
        return codes[0]

    def reopen(self, kill=False, spoil=None):
        """
        Close the first and open it again.

        :param kill: go on with what is on the disk now, as after a kill.
        :param spoil: called with the folder in between.
        """
        if kill:
            target = self.folder.with_name(self.folder.name + 'x')
            shutil.copytree(self.folder, target, copy_function=copy_if_there)
            self.store.storage.close()
            self.folder = target
        else:
            close(self.store)
        if spoil:
            spoil(self.folder)
        self.store = open_store(self.folder, self.model, **self.retention)

    def check(self, states=True):
        """Compare all missions."""
        names = sorted(info.mission_id for info in self.store.list())
        assert names == sorted(info.mission_id for info in self.twin.list())
        for name in names:
            assert told(self.store, name) == told(self.twin, name), name
            pair = [store.get(name) for store in (self.store, self.twin)]
            assert pair[0].chunk_sizes + pair[0].pending_sizes == \
                pair[1].chunk_sizes + pair[1].pending_sizes
            assert [turn.text for turn in pair[0].turns] == [turn.text for turn in pair[1].turns]
            if states:
                for mission in pair:
                    mission.prefill_all()
                assert_same(pair[0].state.arrays(), pair[1].state.arrays())

    def close(self):
        """Close both."""
        close(self.store)
        close(self.twin)
