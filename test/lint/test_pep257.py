# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

from conftest import ROOT
import pytest


def test_pep257(python_files):
    pytest.importorskip('ruff')
    result = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '--no-cache', '--config', ROOT / 'pyproject.toml',
         *python_files],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
