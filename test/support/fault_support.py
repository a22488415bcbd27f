# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A process whose disk fails on command."""
from __future__ import annotations

from collections.abc import Iterable
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any

from lfm_ros.errors import ErrorCode
from support import environment

SOURCES = Path(__file__).resolve().parent / 'faults'
FOREVER = 1 << 40
SHORT = 0  # instead of an error: writes write only a part
KILL = -1  # likewise: the process dies


class FailingDisk:
    """
    Runs cases in a process in which operations on a folder fail; a context manager.

    :param place: a folder for the missions and the library.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        library = place / 'faults.so'
        subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', library, SOURCES / 'faults.c',
                        '-ldl'], check=True)
        self._process = subprocess.Popen(
            [sys.executable, SOURCES / 'story.py'], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**environment(), 'LD_PRELOAD': str(library)})
        assert self._line() == 'ready'
        self._numbers = 0
        self.expected = self.story()
        assert 'answers' in self.expected, self.expected
        self.operations = self.expected['count']
        self.slid = self.story(slides=True)
        assert 'answers' in self.slid, self.slid
        self.slid_operations = self.slid['count']

    def __enter__(self) -> FailingDisk:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.communicate()

    def sample(self, slides: bool = False, first: int = 1, last: int = FOREVER,
               stride: int = FOREVER) -> list[int]:
        """
        Return the numbers of some operations of the story between two.

        Of each kind, which is what is done with which kind of file, they are the first, the one in
        the middle and the last; writes into the log are most of all.

        :param stride: one of so many, whatever it is, is among them as well.
        """
        kinds: dict[str, list[int]] = {}
        operations = (self.slid if slides else self.expected)['operations']
        for number, operation in list(enumerate(operations, 1))[first - 1:last]:
            # What names have in common is not the number of a process, a digest or a length.
            kinds.setdefault(re.sub(r'[0-9a-f]{8,}|\d+', '', operation), []).append(number)
        found = {at for each in kinds.values() for at in (each[0], each[len(each) // 2], each[-1])}
        return sorted(found.union(range(first, min(last, len(operations)) + 1, stride)))

    def story(self, **case: Any) -> dict[str, Any]:
        """Do the story in a new folder, and return what was seen."""
        return self.stories([case])[0][1]

    def stories(self, cases: list[dict[str, Any]]) -> list[tuple[Path, dict[str, Any]]]:
        """Do the story for each case in a new folder; return the folders and what was seen."""
        folders = [self._new_folder() for _ in cases]
        return list(zip(folders, self._do([
            {'what': 'story', 'folder': str(folder), **case}
            for folder, case in zip(folders, cases)])))

    def _new_folder(self) -> Path:
        self._numbers += 1
        self.folder = self.place / f'missions{self._numbers}'
        return self.folder

    def kill(self, at: int, slides: bool = False) -> str:
        """Kill the story at an operation and check what came of it; return what is wrong."""
        seen = self.story(first=at, end=FOREVER, errno=KILL, slides=slides)
        return self._wrong_after_kill(slides, seen, *self.looks([self.folder], slides))

    def kills(self, ats: Iterable[int], slides: bool = False) -> str:
        """
        Check what a kill at each of these operations leaves; return what is wrong.

        The story is done only once: when it comes to them, its process is stopped, and its folder
        copied.
        """
        folder = self._new_folder()
        copies = self._ask({'folder': str(folder), 'slides': slides, 'at': list(ats)})
        if 'error' in copies:
            return copies['error']
        if not copies:
            return 'no operation was met'
        found = self.looks([Path(f'{folder}-{at}') for at in copies], slides)
        return next((f'operation {at}: {wrong}' for (at, seen), each in zip(copies.items(), found)
                     if (wrong := self._wrong_after_kill(slides, seen, each))), '')

    def _wrong_after_kill(self, slides: bool, seen: dict[str, Any], found: dict[str, Any]) -> str:
        expected = self.slid if slides else self.expected
        for each in (seen, found):
            if 'error' in each:
                return each['error']
        if not found['same']:
            return 'it answers in another way than what it says it was told'
        if any(found['notices']) or 'damaged' in found['opened']:
            return f'something is damaged: {found["notices"]} {found["opened"]}'
        for name in 'ab':
            moments = [digests for digests, _ in expected['moments'][name]]
            known = seen.get('moments', {}).get(name, [None])
            # What was acknowledged, or what was to come next: no turn is lost, none is cut.
            allowed = moments[len(known) - 1:len(known) + 1]
            if found['missions'].get(name, []) not in allowed:
                return f'{name} holds {found["missions"].get(name)}, not one of {allowed}'
        return ''

    def go_on(self, **case: Any) -> dict[str, Any]:
        """Go on in the folder of the last story."""
        return self._do([{'what': 'go on', 'folder': str(self.folder), **case}])[0]

    def look(self) -> dict[str, Any]:
        """Return what is in the folder, when nothing fails."""
        return self.looks([self.folder])[0]

    def looks(self, folders: list[Path], slides: bool = False) -> list[dict[str, Any]]:
        """Return what is in folders, and remove them."""
        found = self._do([{'what': 'look', 'folder': str(folder), 'slides': slides}
                          for folder in folders])
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return found

    def check(self, **case: Any) -> str:
        """Do the story and check what came of it; return what is wrong, empty: nothing."""
        return self.checks([case])

    def checks(self, cases: list[dict[str, Any]]) -> str:
        """Do the story for each case, and check what came of it; return what is wrong."""
        done = self.stories(cases)
        made = [folder.exists() for folder, _ in done]
        looks = self.looks([folder for folder, _ in done])
        for case, (_, seen), folder_made, found in zip(cases, done, made, looks):
            if wrong := self._wrong(case, seen, folder_made, found):
                return f'{case}: {wrong}'
        return ''

    def _wrong(self, case: dict[str, Any], seen: dict[str, Any], folder_made: bool,
               found: dict[str, Any]) -> str:
        if 'error' in seen:
            return seen['error']
        heals, expected = case.get('heals'), self.expected
        if 'refused' in seen:
            # Only when there is no folder at all; the node says so when it is configured.
            code, message = seen['refused']
            return '' if code == ErrorCode.STORAGE_FAILED and not folder_made else message
        answers = seen['answers']
        first_part = len(expected['answers']) - 2
        if answers[:first_part] != expected['answers'][:first_part]:
            return f'answers: {answers}'
        if not seen['trouble'] and not heals and answers != expected['answers']:
            return f'answers after it was opened again: {answers}'
        if heals and seen['trouble']:
            return f'there is room again, but: {seen["trouble"]}'
        if case.get('end') == FOREVER and case['errno'] != SHORT and not any(seen['troubles']) \
                and seen['count'] > case['first'] + 5 and not heals:
            return 'nobody was told'
        if 'error' in found:
            return found['error']
        if not found['same']:
            return 'it answers in another way than what it says it was told'
        if found['trouble'] or 'damaged' in found['opened']:
            return found['trouble'] or found['opened']
        moments = seen['moments']
        for name in 'ab':
            # What was in it since it was last durable, while nobody promised anything.
            last = max(n for n, (_, durable) in enumerate(moments[name]) if durable)
            digests = found['missions'].get(name, [])
            if digests not in [each for each, _ in moments[name][last:]]:
                return f'{name} has {len(digests)} entries of {moments[name]}'
        if not seen['trouble'] and (heals or not any(seen['troubles'][-4:])) and \
                'refused_later' not in seen:
            for name in 'ab':
                if found['missions'].get(name) != moments[name][-1][0]:
                    return f'{name} is not what it was, and nobody was told'
            if 'c' in found['missions']:
                return 'c was deleted and is back'
            if heals and any(found['pending'].values()):
                return f'there are no checkpoints: {found["pending"]}'
        return ''

    def _do(self, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = self._ask(cases)
        assert isinstance(found, list), found
        return found

    def _ask(self, asked: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked) + '\n')
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline() or '{"error": "it is gone"}')


def has_compiler() -> bool:
    """Tell whether the library can be made."""
    return shutil.which('cc') is not None and os.name == 'posix' and sys.platform == 'linux'
