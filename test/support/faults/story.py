# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A process in which a disk fails: it opens a model, then does a story again and again.

A line on stdin is a JSON list of cases; for each one a child is forked, and what they have seen
is a line on stdout. Where it is an object instead, one story is done and its folder copied.
"""
from __future__ import annotations

from collections.abc import Callable
import ctypes
import json
import logging
import os
from pathlib import Path
import shutil
import signal
import sys
import traceback
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lfm_ros.conversation.mission import Mission  # noqa: E402
from lfm_ros.conversation.transcript import Transcript  # noqa: E402
from lfm_ros.errors import LfmError  # noqa: E402, I100
import numpy as np  # noqa: E402
import numpy.random  # noqa: E402, F401 (once, and not in every child)
from storage_support import open_store  # noqa: E402
from storage_support import render_once  # noqa: E402
from storage_support import tell  # noqa: E402
from support import ask  # noqa: E402
from support import open_model  # noqa: E402

MAX_LENGTH = 60  # seconds after which a child has failed
KILLED = 9    # the status of one that dies by a fault
KILL, STOP = -1, -2  # instead of an error
AT_ONCE = len(os.sched_getaffinity(0))  # children
MODEL = open_model('lfm2-past-conv-odd', prefill_chunk=16)  # its answers differ
SHORT = open_model('lfm2-past-conv-odd', prefill_chunk=16, context_length=128)
render_once(MODEL)
render_once(SHORT)


class Faults:
    """The preloaded library."""

    def __init__(self) -> None:
        library = ctypes.CDLL('')
        self._folder = (ctypes.c_char * 4096).in_dll(library, 'faults_folder')
        self.count = ctypes.c_long.in_dll(library, 'faults_count')
        self._first, self._end = (ctypes.c_long.in_dll(library, f'faults_{n}')
                                  for n in ('first', 'end'))
        self._errno = ctypes.c_int.in_dll(library, 'faults_errno')
        self._notes = (ctypes.c_char * (1 << 17)).in_dll(library, 'faults_notes')

    def begin(self, folder: str, first: int = 0, end: int = 0, errno: int = 0) -> None:
        """Count from now on, and let some operations fail; errno 0: write only a part."""
        self._first.value, self._end.value, self._errno.value = first, end, errno
        self.count.value = 0
        self._folder.value = folder.encode()

    @property
    def operations(self) -> list[str]:
        """Return what was done: the name of each operation, and the path in the folder."""
        return self._notes.value.decode().splitlines()

    def stop(self) -> None:
        """Let nothing fail any more."""
        self._end.value = 0


class Story:
    """
    What happens to two missions.

    :param tell: called with ``seen`` after every turn, since the process may die.
    :ivar seen: what the test is told.
    """

    def __init__(self, faults: Faults, folder: Path, tell: Callable[[Any], None]) -> None:
        self.faults, self.folder, self._tell = faults, folder, tell
        self.model = MODEL
        self.retention: dict[str, Any] = {'checkpoint_turns': 2}
        self.seen: dict[str, Any] = {'answers': [], 'troubles': [], 'moments': {}}

    def open(self) -> None:
        """Open the store."""
        self.store = open_store(self.folder, self.model, **self.retention)

    def ask(self, name: str, prompt: str) -> None:
        """Ask, and note what is in the mission then."""
        self.seen['answers'].append(tell(self.store, name, prompt))
        self.note(name)

    def note(self, name: str) -> None:
        """Note what is in a mission now, and what the store says of its disk."""
        digests = [entry.digest for entry in self.store.get(name).entries]
        durable = self.store.storage.durable
        self.seen['moments'].setdefault(name, [[[], True]]).append([digests, durable])
        self.seen['troubles'].append(self.store.storage.durability_error)
        self._tell(self.seen)

    def maintain(self, idle: float = 0.0) -> None:
        """Do what the scheduler does every second."""
        self.store.maintain(idle)
        self.store.storage.flush()
        self.seen['troubles'].append(self.store.storage.durability_error)

    def begin(self) -> None:
        """Do the first part."""
        self.open()
        self.ask('a', 'Where is the dock?')
        self.ask('b', 'What do you see on the table?')
        self.ask('a', 'Go there.')
        self.maintain()
        self.store.observe('b', 'It is dark.')
        self.maintain()
        self.note('b')
        self.store.evict('a')
        self.ask('b', 'And now?')
        self.ask('a', 'Stop.')
        self.store.rewind('a', 2)
        self.note('a')
        self.ask('a', 'Go on.')
        self.maintain(60.0)
        before = self.faults.count.value
        self.store.fork('b', 'c')
        self.note('c')
        self.store.delete('c')
        self.seen['fork'] = [before + 1, self.faults.count.value]
        self.maintain()
        self.store.evict('b')
        self.ask('b', 'Are you there?')

    def slide(self) -> None:
        """Do what makes the oldest turns leave, more than once."""
        self.model = SHORT
        self.retention['overflow'] = 'slide'
        self.open()
        for number in range(14):
            self.ask('ab'[number % 5 == 4], f'Where is the box {number}?')
            if number % 3 == 1:
                self.maintain()
            if number == 9:
                self.store.evict('a')

    def heal(self) -> None:
        """Let the disk work again, and give the store the time to notice."""
        self.faults.stop()
        self.maintain()
        self.maintain(60.0)
        self.maintain()  # which proves the checkpoints
        self.seen['trouble'] = self.store.storage.durability_error

    def end(self) -> None:
        """Close the store, open it again and go on."""
        self.store.flush_all()
        self.seen['trouble'] = self.store.storage.durability_error
        self.store.storage.close()
        self.open()
        for name in 'ab':
            self.ask(name, 'Who are you?')
        self.store.flush_all()
        self.seen['troubles'].append(self.store.storage.durability_error)
        self.seen['count'] = self.faults.count.value
        self.store.storage.close()


def do_story(faults: Faults, case: dict[str, Any], tell: Callable[[Any], None]) -> dict[str, Any]:
    """Do the story while the disk fails."""
    story = Story(faults, Path(case['folder']), tell)
    faults.begin(case['folder'], case.get('first', 0), case.get('end', 0), case.get('errno', 0))
    try:
        (story.slide if case.get('slides') else story.begin)()
    except LfmError as error:
        return {'refused': [int(error.code), error.message], 'count': faults.count.value}
    story.seen['count'] = faults.count.value
    if case.get('heals'):
        story.heal()
        return story.seen  # killed here
    try:
        story.end()
    except LfmError as error:
        story.seen['refused_later'] = [int(error.code), error.message]
    story.seen['operations'] = faults.operations[:story.seen['count']]
    return story.seen


def go_on(faults: Faults, case: dict[str, Any], tell: Callable[[Any], None]) -> dict[str, Any]:
    """Go on with missions on a disk that cannot be written from the beginning, until it can."""
    story = Story(faults, Path(case['folder']), tell)
    faults.begin(case['folder'], case['first'], case['end'], case['errno'])
    story.open()
    story.seen['trouble_at_first'] = story.store.storage.durability_error
    for name in 'ab':
        story.note(name)
        story.ask(name, 'And what is there?')
        story.maintain()
    story.heal()
    return story.seen


def look(_: Faults, case: dict[str, Any], __: Callable[[Any], None]) -> dict[str, Any]:
    """Tell what is in a folder, and whether it answers as one that is read from its ids."""
    model, retention = (SHORT, {'overflow': 'slide'}) if case.get('slides') else (MODEL, {})
    store = open_store(Path(case['folder']), model, **retention)
    seen: dict[str, Any] = {'missions': {}, 'same': True, 'pending': {}, 'notices': [],
                            'opened': store.storage.notice}
    for name in [info.mission_id for info in store.list()]:
        store.storage.notice = ''
        mission = store.get(name)
        seen['notices'].append(store.storage.notice)
        seen['missions'][name] = [entry.digest for entry in mission.entries]
        seen['pending'][name] = mission.pending
        if mission.slid:
            continue  # reading its ids would not give its state
        told = Transcript(name, mission.fingerprint, list(mission.ids), [],
                          mission.chunk_sizes + mission.pending_sizes, list(mission.entries))
        twin = Mission.of(told, model, mission.overflow)
        for each in (mission, twin):
            ask(each, 'And?', max_tokens=2)
            each.prefill_all()
        ours, theirs = mission.state.arrays(), twin.state.arrays()
        seen['same'] &= mission.ids == twin.ids and \
            all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    seen['trouble'] = store.storage.durability_error
    store.storage.close()
    return seen


class Child:
    """
    A child that does a case.

    What it tells goes into a file in memory, line by line: it may be killed at any moment.

    :ivar seen: what it told last.
    """

    def __init__(self, faults: Faults, case: dict[str, Any]) -> None:
        self._told = os.memfd_create('told')
        self._case = case
        self.number = os.fork()
        if self.number:
            return
        signal.alarm(MAX_LENGTH)
        try:
            found = {'story': do_story, 'look': look, 'go on': go_on}[case['what']](
                faults, case, self._tell)
        except BaseException:
            found = {'error': traceback.format_exc()}
        self._tell(found)
        os._exit(0)

    def _tell(self, seen: Any) -> None:
        os.write(self._told, (json.dumps(seen) + '\n').encode())

    @property
    def seen(self) -> dict[str, Any]:
        """Return what it told last."""
        lines = os.pread(self._told, os.fstat(self._told).st_size, 0).splitlines()
        return json.loads(lines[-1]) if lines else {}

    def end(self, status: int) -> dict[str, Any]:
        """Return what it told in the end."""
        code, seen = os.waitstatus_to_exitcode(status), self.seen
        os.close(self._told)
        if code and not (code == KILLED and self._case.get('errno') == KILL):
            return {'error': f'status {code}'}
        return seen


def do_all(faults: Faults, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Do cases, some at a time: each one has a child and a folder of its own."""
    found: dict[int, dict[str, Any]] = {}
    running: dict[int, tuple[int, Child]] = {}
    waiting = list(enumerate(cases))[::-1]
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            place, case = waiting.pop()
            child = Child(faults, case)
            running[child.number] = place, child
        number, status = os.waitpid(-1, 0)
        if number in running:
            place, child = running.pop(number)
            found[place] = child.end(status)
    return [found[place] for place in range(len(cases))]


def copy_all(faults: Faults, case: dict[str, Any]) -> dict[str, Any]:
    """
    Do a story, and copy its folder whenever it comes to one of certain operations.

    The whole process is stopped meanwhile: the copy is what a kill at that moment leaves. It has
    the number of the operation behind the name of the folder.

    :return: what was told until then, by the number of the operation.
    """
    copies: dict[int, Any] = {}
    at, folder = 0, case['folder']
    child = Child(faults, {**case, 'what': 'story', 'first': 1, 'end': 1 << 40, 'errno': STOP})
    while os.WIFSTOPPED(status := os.waitpid(child.number, os.WUNTRACED)[1]):
        at += 1
        if at in case['at']:
            copies[at] = child.seen
            if os.path.exists(folder):
                shutil.copytree(folder, f'{folder}-{at}', symlinks=True)
        os.kill(child.number, signal.SIGCONT)
    seen = child.end(status)
    return seen if 'error' in seen else copies


def main() -> None:
    """Serve cases until the end of stdin."""
    logging.disable(logging.CRITICAL)
    faults = Faults()
    print(json.dumps('ready'), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(do_all(faults, asked) if isinstance(asked, list) else
                         copy_all(faults, asked)), flush=True)


if __name__ == '__main__':
    main()
