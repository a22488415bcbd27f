# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
When the disk fails, every answer is still given; what was said to be durable is.

All operations one by one: bench/kills.py --faults.
"""
import errno

from fault_support import FailingDisk
from fault_support import FOREVER
from fault_support import has_compiler
from fault_support import SHORT
from log_support import quick_folder
import pytest
from vault_support import module_vault as vault  # noqa: F401

pytestmark = pytest.mark.skipif(not has_compiler(), reason='there is no C compiler on Linux')
ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, SHORT]
MODES = ['once', 'forever', 'heals']


@pytest.fixture(scope='module')
def disk(vault):  # noqa: F811
    with quick_folder() as place, FailingDisk(place) as found:
        yield found


def case(first, error, mode):
    """Return what fails in a story."""
    return {'first': first, 'end': first + 1 if mode == 'once' else FOREVER, 'errno': error,
            'heals': mode == 'heals'}


@pytest.mark.parametrize('share', range(12))
def test_whatever_fails_answers_are_given_and_what_is_durable_stays(disk, share):
    # Each one begins elsewhere: together they are a sample over the whole story.
    first = 1 + share * disk.operations // 12
    for number in range(8):
        error, mode = ERRORS[(share + number) % 4], MODES[number % 3]
        each = case(first + number * 3, error, mode)
        assert not disk.check(**each), each


def test_what_a_commit_that_failed_left_behind_does_not_come_back(disk):
    first, last = disk.expected['fork']
    assert first < last
    for at in range(first, last + 1):
        assert not disk.check(**case(at, errno.EIO, 'heals')), at


@pytest.mark.parametrize('share', range(4))
@pytest.mark.parametrize('slides', [False, True])
def test_a_kill_at_any_operation_loses_nothing(disk, slides, share):
    count = disk.slid_operations if slides else disk.operations
    for at in range(1 + share * 3, count + 1, 24):
        assert not disk.kill(at, slides), at


def test_nothing_fails_when_nothing_is_made_to_fail(disk):
    assert not disk.check() and not any(disk.expected['troubles'])


@pytest.mark.parametrize('error', [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize('killed', [False, True])
def test_missions_on_a_disk_that_cannot_be_written_come_back_and_are_written_later(
        disk, error, killed):
    before = disk.story(**(case(FOREVER, errno.EIO, 'heals') if killed else {}))
    assert not before['trouble']
    seen = disk.go_on(**case(1, error, 'forever'))
    assert 'error' not in seen, seen['error']
    assert 'not durable' in seen['trouble_at_first']
    for name in 'ab':
        _, first, second = seen['moments'][name]
        assert first[0] == before['moments'][name][-1][0]
        assert second[0][:-1] == first[0] and not second[1]
    assert not seen['trouble']
    found = disk.look()
    assert found['same'] and not any(found['pending'].values())
    assert found['missions'] == {name: seen['moments'][name][-1][0] for name in 'ab'}
