# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

from conftest import ROOT
import pytest


def test_flake8(python_files):
    pytest.importorskip('flake8')
    result = subprocess.run(
        [sys.executable, '-m', 'flake8', '--config', ROOT / 'setup.cfg', *python_files],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
