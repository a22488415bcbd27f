# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A kill at any moment loses no acknowledged turn; a longer run: bench/kills.py."""
import re
import subprocess
import sys

from cipher_support import cipher  # noqa: F401
import pytest
from support import environment
from support import ROOT
from support import WAIT

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='it forks a loaded model')


@pytest.mark.parametrize('seed', [1, 2])
def test_what_was_acknowledged_outlives_kills(seed, cipher):  # noqa: F811
    done = subprocess.run(
        [sys.executable, ROOT / 'bench' / 'kills.py', '--kills', '10', '--missions', '6',
         '--seed', str(seed)], env=environment(), capture_output=True, text=True,
        timeout=5 * WAIT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'losses: 0' in done.stdout
    assert int(re.search(r'turns acknowledged: (\d+)', done.stdout)[1]) > 10
    assert int(re.search(r'turns in the end: (\d+)', done.stdout)[1]) >= 6  # one of each at least
