# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
A process in which a disk fails: it opens a model, then does a story again and again.

Every line on stdin is a case, a JSON object; for each one a child is forked, and what it has seen
is a line on stdout.
"""
from __future__ import annotations

from collections.abc import Callable
import ctypes
import json
import logging
import os
from pathlib import Path
import signal
import sys
import traceback
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lfm_ros.errors import LfmError  # noqa: E402, I100
from lfm_ros.missions.mission import Mission  # noqa: E402
from lfm_ros.missions.transcript import Transcript  # noqa: E402
import numpy as np  # noqa: E402
from storage_support import open_store  # noqa: E402
from storage_support import tell  # noqa: E402
from support import ask  # noqa: E402
from support import open_model  # noqa: E402

LONGEST = 60  # seconds after which a child has failed
KILLED = 9    # the status of one that dies by a fault
MODEL = open_model('lfm2-past-conv-odd', prefill_chunk=16)  # its answers differ
SHORT = open_model('lfm2-past-conv-odd', prefill_chunk=16, context_length=128)


class Faults:
    """The preloaded library."""

    def __init__(self) -> None:
        library = ctypes.CDLL('')
        self._folder = (ctypes.c_char * 4096).in_dll(library, 'faults_folder')
        self.count = ctypes.c_long.in_dll(library, 'faults_count')
        self._first, self._end = (ctypes.c_long.in_dll(library, f'faults_{n}')
                                  for n in ('first', 'end'))
        self._errno = ctypes.c_int.in_dll(library, 'faults_errno')

    def begin(self, folder: str, first: int = 0, end: int = 0, errno: int = 0) -> None:
        """Count from now on, and let some operations fail; errno 0: write only a part."""
        self._first.value, self._end.value, self._errno.value = first, end, errno
        self.count.value = 0
        self._folder.value = folder.encode()

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
        self.keeping: dict[str, Any] = {'checkpoint_turns': 2}
        self.seen: dict[str, Any] = {'answers': [], 'troubles': [], 'moments': {}}

    def open(self) -> None:
        """Open the store."""
        self.store = open_store(self.folder, self.model, **self.keeping)

    def ask(self, name: str, prompt: str) -> None:
        """Ask, and note what is in the mission then."""
        self.seen['answers'].append(tell(self.store, name, prompt))
        self.note(name)

    def note(self, name: str) -> None:
        """Note what is in a mission now, and what the store says of its disk."""
        digests = [entry.digest for entry in self.store.get(name).entries]
        durable = self.store.storage.durable
        self.seen['moments'].setdefault(name, [[[], True]]).append([digests, durable])
        self.seen['troubles'].append(self.store.storage.trouble)
        self._tell(self.seen)

    def look_after(self, idle: float = 0.0) -> None:
        """Do what the scheduler does every second."""
        self.store.look_after(idle)
        self.store.storage.settle()
        self.seen['troubles'].append(self.store.storage.trouble)

    def begin(self) -> None:
        """Do the first part."""
        self.open()
        self.ask('a', 'Where is the dock?')
        self.ask('b', 'What do you see on the table?')
        self.ask('a', 'Go there.')
        self.look_after()
        self.store.observe('b', 'It is dark.')
        self.look_after()
        self.note('b')
        self.store.evict('a')
        self.ask('b', 'And now?')
        self.ask('a', 'Stop.')
        self.store.rewind('a', 2)
        self.note('a')
        self.ask('a', 'Go on.')
        self.look_after(60.0)
        before = self.faults.count.value
        self.store.fork('b', 'c')
        self.note('c')
        self.store.delete('c')
        self.seen['fork'] = [before + 1, self.faults.count.value]
        self.look_after()
        self.store.evict('b')
        self.ask('b', 'Are you there?')

    def slide(self) -> None:
        """Do what makes the oldest turns leave, more than once."""
        self.model = SHORT
        self.keeping['overflow'] = 'slide'
        self.open()
        for number in range(14):
            self.ask('ab'[number % 5 == 4], f'Where is the box {number}?')
            if number % 3 == 1:
                self.look_after()
            if number == 9:
                self.store.evict('a')

    def heal(self) -> None:
        """Let the disk work again, and give the store the time to notice."""
        self.faults.stop()
        self.look_after()
        self.look_after(60.0)
        self.look_after()  # which proves the checkpoints
        self.seen['trouble'] = self.store.storage.trouble

    def end(self) -> None:
        """Close the store, open it again and go on."""
        self.store.put_away()
        self.seen['trouble'] = self.store.storage.trouble
        self.store.storage.close()
        self.open()
        for name in 'ab':
            self.ask(name, 'Who are you?')
        self.store.put_away()
        self.seen['troubles'].append(self.store.storage.trouble)
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
    return story.seen


def go_on(faults: Faults, case: dict[str, Any], tell: Callable[[Any], None]) -> dict[str, Any]:
    """Go on with missions on a disk that cannot be written from the beginning, until it can."""
    story = Story(faults, Path(case['folder']), tell)
    faults.begin(case['folder'], case['first'], case['end'], case['errno'])
    story.open()
    story.seen['trouble_at_first'] = story.store.storage.trouble
    for name in 'ab':
        story.note(name)
        story.ask(name, 'And what is there?')
        story.look_after()
    story.heal()
    return story.seen


def look(_: Faults, case: dict[str, Any], __: Callable[[Any], None]) -> dict[str, Any]:
    """Tell what is in a folder, and whether it answers as one that is read from its ids."""
    model, keeping = (SHORT, {'overflow': 'slide'}) if case.get('slides') else (MODEL, {})
    store = open_store(Path(case['folder']), model, **keeping)
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
        twin = Mission.of(Transcript(name, mission.fingerprint, list(mission.ids), [],
                                     mission.calls + mission.unread, list(mission.entries)),
                          model, mission.overflow)
        for each in (mission, twin):
            ask(each, 'And?')
            each.read_all()
        ours, theirs = mission.state.arrays(), twin.state.arrays()
        seen['same'] &= mission.ids == twin.ids and \
            all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    seen['trouble'] = store.storage.trouble
    store.storage.close()
    return seen


def main() -> None:
    """Serve cases until the end of stdin."""
    logging.disable(logging.CRITICAL)
    faults = Faults()
    print(json.dumps('ready'), flush=True)
    for line in sys.stdin:
        case = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            signal.alarm(LONGEST)

            def tell(seen: Any, writer: int = writer) -> None:
                os.write(writer, (json.dumps(seen) + '\n').encode())

            try:
                do = {'story': do_story, 'look': look, 'go on': go_on}[case['what']]
                found = do(faults, case, tell)
            except BaseException:
                found = {'error': traceback.format_exc()}
            tell(found)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as inp:
            lines = inp.read().splitlines()
        _, status = os.waitpid(child, 0)
        status = os.waitstatus_to_exitcode(status)
        if status == KILLED and case.get('errno') == -1:
            print(lines[-1] if lines else '{}', flush=True)
        else:
            print(lines[-1] if lines and not status else json.dumps({'error': f'status {status}'}),
                  flush=True)


if __name__ == '__main__':
    main()
