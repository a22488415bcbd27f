# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of what is on a disk are done without a key and with one."""
from contextlib import contextmanager
import os

from lfm_ros.storage.encryption import AeadCipher
from lfm_ros.storage.encryption import StorageCipher
import pytest

PLAIN, SEALED, OTHER = StorageCipher(), AeadCipher(b'k' * 32), AeadCipher(b'o' * 32)
_ENVIRONMENT = 'LFM_TEST_SEALED'  # for processes that a test starts
current = SEALED if os.environ.get(_ENVIRONMENT) else PLAIN  # of the other support files


@contextmanager
def using(chosen):
    """Have the other support files write with this vault for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f'{__name__}.current', chosen)
        patch.setenv(_ENVIRONMENT, chosen.key_id)
        yield chosen


@pytest.fixture(params=[PLAIN, SEALED], ids=['plain', 'sealed'])
def cipher(request):
    """Do a test without a key and with one."""
    with using(request.param):
        yield request.param


@pytest.fixture(scope='module', params=[PLAIN, SEALED], ids=['plain', 'sealed'])
def module_cipher(request):
    """Do all tests of a file without a key and with one."""
    with using(request.param):
        yield request.param
