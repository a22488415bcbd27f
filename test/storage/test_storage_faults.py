# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
When the disk fails, every answer is still given; what was said to be durable is.

All operations one by one: bench/kills.py --faults.
"""
import errno

from cipher_support import module_cipher as cipher  # noqa: F401
from fault_support import FailingDisk
from fault_support import FOREVER
from fault_support import has_compiler
from fault_support import SHORT
from log_support import quick_folder
import pytest

pytestmark = pytest.mark.skipif(not has_compiler(), reason='there is no C compiler on Linux')
ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, SHORT]
MODES = ['once', 'forever', 'heals']


@pytest.fixture(scope='module')
def disk(cipher):  # noqa: F811
    with quick_folder() as place, FailingDisk(place) as found:
        yield found


def case(first, error, mode):
    """Return what fails in a story."""
    return {'first': first, 'end': first + 1 if mode == 'once' else FOREVER, 'errno': error,
            'heals': mode == 'heals'}


@pytest.mark.parametrize('share', range(4))
def test_whatever_fails_answers_are_given_and_what_is_durable_stays(disk, share):
    # Neighbours fail in different ways: together they are a sample of all.
    cases = [case(first, ERRORS[(share + number) % 4], MODES[number % 3])
             for number, first in enumerate(disk.sample()[share::4])]
    wrong = disk.checks(cases)
    assert not wrong, wrong


def test_what_a_commit_that_failed_left_behind_does_not_come_back(disk):
    first, last = disk.expected['fork']
    assert first < last
    wrong = disk.checks([case(at, errno.EIO, 'heals')
                         for at in disk.sample(first=first, last=last, stride=3)])
    assert not wrong, wrong


@pytest.mark.parametrize('slides', [False, True])
def test_a_kill_at_any_operation_loses_nothing(disk, slides):
    wrong = disk.kills(disk.sample(slides, stride=24), slides)
    assert not wrong, wrong


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
