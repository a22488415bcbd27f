# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A process whose disk fails on command."""
from __future__ import annotations

import json
import os
from pathlib import Path
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
        self.slid_operations = self.slid['count']

    def __enter__(self) -> FailingDisk:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.communicate()

    def story(self, **case: Any) -> dict[str, Any]:
        """Do the story in a new folder, and return what was seen."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._numbers += 1
        return self._do(what='story', folder=str(self.folder), **case)

    @property
    def folder(self) -> Path:
        """Return the folder of the last story."""
        return self.place / f'missions{self._numbers}'

    def kill(self, at: int, slides: bool = False) -> str:
        """Kill the story at an operation and check what came of it; return what is wrong."""
        expected = self.slid if slides else self.expected
        seen = self.story(first=at, end=FOREVER, errno=KILL, slides=slides)
        found = self._do(what='look', folder=str(self.folder), slides=slides)
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
        return self._do(what='go on', folder=str(self.folder), **case)

    def look(self) -> dict[str, Any]:
        """Return what is in the folder, when nothing fails."""
        return self._do(what='look', folder=str(self.folder))

    def check(self, **case: Any) -> str:
        """Do the story and check what came of it; return what is wrong, empty: nothing."""
        seen = self.story(**case)
        if 'error' in seen:
            return seen['error']
        heals, expected = case.get('heals'), self.expected
        if 'refused' in seen:
            # Only when there is no folder at all; the node says so when it is configured.
            code, message = seen['refused']
            folder_made = self.folder.exists()
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
        found = self.look()
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

    def _do(self, **case: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(case) + '\n')
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline() or '{"error": "it is gone"}')


def has_compiler() -> bool:
    """Tell whether the library can be made."""
    return shutil.which('cc') is not None and os.name == 'posix' and sys.platform == 'linux'
