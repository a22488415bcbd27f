# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Files that earlier code wrote are opened, bit for bit, and missions go on as they did.

`fixtures/make_fixtures.py` says what is in them. What the tests prove:

- What came back is compared with what the old code had, before the model runs: the same ids, the
  same text, the same bits in every array. No kernel has a part in it, so it holds on any machine.
  Where an archive is brought into another folder, the state of the system prompt is the one of
  that folder, so its bits are compared on processors of the kind that made the fixture.
- How a mission goes on is compared with the tokens that the old code chose, on another machine
  perhaps. Each was the best by a margin that no rounding of kernels comes near (it is checked
  here that it was), so other tokens mean another state, other ids or another template.
- Without its states the log alone must give the same tokens: what is read again is what was read.
"""
from __future__ import annotations

import json
from pathlib import Path
import platform
import shutil
from typing import Any

from fixtures.make_fixtures import ARCHIVES
from fixtures.make_fixtures import copy_of
from fixtures.make_fixtures import EXPECTED
from fixtures.make_fixtures import FOLDERS
from fixtures.make_fixtures import MARGIN
from fixtures.make_fixtures import model_of
from fixtures.make_fixtures import restored
from fixtures.make_fixtures import TOKENS
from internals import from_lines
from internals import lfm
from internals import Missions
import lfm_ros  # noqa: F401  (switches telemetry off)
import onnxruntime
import pytest

FIXTURES = Path(__file__).resolve().parents[1] / 'fixtures'

PLACES = sorted(file.parent for file in FIXTURES.glob(f'*/{EXPECTED}'))
# Files of SQLite and of the lock; any other would be what a repair has put aside.
USUAL = ('-wal', '-shm', '.db', 'states', 'lock')


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
def place(request: pytest.FixtureRequest) -> Path:
    """Give the folder of a fixture."""
    return request.param


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> str:
    """Give a folder of missions in it."""
    if request.param == 'int8':
        found = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
        if found < (1, 27):
            pytest.skip('keys and values in 8 bits need ONNX Runtime 1.27')
    return request.param


def expected(place: Path, folder: str) -> dict[str, Any]:
    """Return what the old code said of a folder."""
    return json.loads((place / EXPECTED).read_text(encoding='utf-8'))[folder]


def check_continued(missions: Missions, name: str, then: dict[str, Any]) -> None:
    """Check that a mission answers as it did."""
    assert then['margin'] > MARGIN, 'else another machine might choose another token'
    found = missions.continue_(name, then['question'], TOKENS)
    assert (found['ids'], found['text']) == (then['ids'], then['text']), name


def test_there_is_a_fixture_of_the_first_code() -> None:
    assert FIXTURES / 'first' in PLACES


def test_old_missions_come_back_bit_for_bit(place: Path, folder: str, tmp_path: Path) -> None:
    then = expected(place, folder)['restored']
    where, key = copy_of(place / folder, FOLDERS[folder][1], tmp_path / 'copy')
    with Missions(model_of(folder, place), where, key) as missions:
        assert missions.names == list(then)
        for name in then:
            assert restored(missions, name) == then[name], name
        assert [file.name for file in where.iterdir() if not file.name.endswith(USUAL)] == []


def test_old_missions_go_on_with_the_same_tokens(place: Path, folder: str, tmp_path: Path
                                                 ) -> None:
    then = expected(place, folder)
    where, key = copy_of(place / folder, FOLDERS[folder][1], tmp_path / 'copy')
    with Missions(model_of(folder, place), where, key) as missions:
        for name, told in then['continued'].items():
            check_continued(missions, name, told)
    with Missions(model_of(folder, place), where, key) as missions:  # it is in the log, too
        assert missions.names == list(then['restored'])
        for name, told in then['continued'].items():
            before, now = then['restored'][name], missions.restored(name)
            assert now['ids'] == before['ids'] + told['ids'], name
            assert now['entries'][:-1] == before['entries'], name


@pytest.mark.parametrize('folder', [name for name in FOLDERS if 'sealed' not in name],
                         indirect=True)  # encrypted, the same ids are read again
def test_an_old_log_alone_gives_the_same_tokens(place: Path, folder: str, tmp_path: Path) -> None:
    then = expected(place, folder)
    where, key = copy_of(place / folder, FOLDERS[folder][1], tmp_path / 'copy')
    shutil.rmtree(where / 'states')
    with Missions(model_of(folder, place), where, key) as missions:
        for name, told in then['continued'].items():
            # What was read with turns that have left since cannot be read without them.
            if not then['restored'][name]['slid']:
                check_continued(missions, name, told)


@pytest.mark.parametrize('file', ARCHIVES)
def test_old_archives_bring_their_missions_bit_for_bit(place: Path, file: str, tmp_path: Path
                                                       ) -> None:
    folder, name = ARCHIVES[file]
    then = expected(place, folder)
    _, key = copy_of(place / folder, FOLDERS[folder][1], tmp_path / 'copy')
    with Missions(model_of(folder, place), tmp_path / 'other', key) as missions:
        missions.do('import', place / file, 'here')
        found, told = restored(missions, 'here'), then['restored'][name]
        if platform.machine() != 'x86_64':
            found, told = ({**each, 'arrays': list(each['arrays'])} for each in (found, told))
        assert found == told
        check_continued(missions, 'here', then['continued'][name])


def test_old_missions_are_listed_and_shown_without_a_model(place: Path, folder: str,
                                                           tmp_path: Path) -> None:
    then = expected(place, folder)['restored']
    where, key = copy_of(place / folder, FOLDERS[folder][1], tmp_path / 'copy')
    options = ['--missions-dir', where, *(['--key-file', key] if key else []), '--json']
    status, text = lfm('missions', *options, 'list')
    listed = {mission['mission_id']: mission for mission in from_lines(text)['missions']}
    assert not status and list(listed) == list(then)
    for name, told in then.items():
        turns = [part for part in told['entries'] if part['kind'] in ('turn', 'results')]
        assert (listed[name]['turns'], listed[name]['tokens']) == (len(turns), len(told['ids']))
        status, text = lfm('missions', *options, 'show', name)
        shown = from_lines(text)
        assert not status and [
            (turn['prompt'], turn['text'], turn['finish_reason']) for turn in shown['turns']] == [
            (part['prompt'], part['text'], part['finish_reason']) for part in turns]
