# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `make test-aarch64` chooses and says; running it takes another machine, or an hour."""
from pathlib import Path
import subprocess
import sys

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools'))

import aarch64 as tool  # noqa: E402, I100


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Keep what is written away from the repository."""
    monkeypatch.setattr(tool, 'CACHE', tmp_path)


def test_files_that_need_ros_are_not_among_those_that_do_not():
    found = set(tool.all_files())
    assert {'test/engine/test_goldens.py', 'test/storage/test_kills.py',
            'test/node/test_messages.py'} <= found
    for file in ('test/node/test_node_demo.py', 'test/client/test_client.py',
                 'test/storage/test_core_files.py'):
        assert (tool.ROOT / file).is_file() and file not in found


def test_what_is_chosen_is_there():
    found = set(tool.all_files())
    assert {piece for pieces in tool.CHOSEN.values() for piece in pieces} <= found


@pytest.mark.parametrize('python, runtime', [('3.10', '1.23.2'), ('3.11', '1.31.1')])
def test_wheels_are_those_of_the_other_python(python, runtime):
    found = [wheel for wheel in tool.wheels(python) if wheel.startswith('onnxruntime==')]
    assert found == [f'onnxruntime=={runtime}']
    assert not any(wheel.startswith(('ruff', 'mypy', 'cmake')) for wheel in tool.wheels(python))


@pytest.mark.parametrize('change, words', [
    (lambda patch: patch.setattr(tool.platform, 'machine', lambda: 'aarch64'), '--files'),
    (lambda patch: patch.setattr(tool.shutil, 'which', lambda *_, **__: None), 'install'),
    (lambda patch: patch.setattr(tool, 'KEYRING', Path('/none')), 'debian-archive-keyring'),
    (lambda patch: patch.setattr(tool.sys, 'executable', '/bin/false'), 'python3-pip'),
], ids=['machine', 'programs', 'keyring', 'pip'])
def test_what_is_missing_is_one_sentence(monkeypatch, change, words):
    monkeypatch.setattr(tool.platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(tool.shutil, 'which', lambda *_, **__: '/bin/true')
    monkeypatch.setattr(tool, 'KEYRING', Path(__file__))
    change(monkeypatch)
    with pytest.raises(tool.SetupError) as caught:
        tool.check_machine()
    assert words in str(caught.value) and '\n' not in str(caught.value)


def test_without_the_right_to_register_formats_it_is_one_sentence(monkeypatch):
    refused = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(tool.subprocess, 'run', lambda *_, **__: refused)
    with pytest.raises(tool.SetupError, match='needs root'):
        tool.is_private()


def test_what_has_passed_is_not_run_again_until_the_sources_change(monkeypatch, tmp_path):
    ran = []

    def run(core, piece, *_):
        ran.append(piece)
        return [1, int(piece == 'bad'), 0, 1]

    monkeypatch.setattr(tool, 'run_piece', run)
    monkeypatch.setattr(tool, 'ROOT', tmp_path)
    work = [('cortex-a76', 'good'), ('cortex-a76', 'bad')]
    assert tool.run_pieces(work, True, 1) == 1 and ran == ['good', 'bad']
    assert tool.run_pieces(work, True, 1) == 1 and ran == ['good', 'bad', 'bad']
    (tmp_path / 'lfm_ros').mkdir()
    (tmp_path / 'lfm_ros' / 'new.py').touch()
    assert tool.run_pieces(work, True, 1) == 1 and ran[3:] == ['good', 'bad']
