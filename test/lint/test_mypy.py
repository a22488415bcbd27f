# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

from conftest import ROOT
import pytest


def test_mypy():
    pytest.importorskip('mypy')
    result = subprocess.run(
        [sys.executable, '-m', 'mypy', '--config-file', 'setup.cfg',
         'lfm_ros/engine', 'lfm_ros/conversation', 'lfm_ros/storage',
         'lfm_ros/serving', 'lfm_ros/prepare', 'lfm_ros/replay'],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
