# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much memory missions may take when nobody has said it."""
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import available_bytes
from lfm_ros.serving import memory_budget
from lfm_ros.serving.memory_budget import AUTO_BUDGET
from lfm_ros.serving.memory_budget import MARGIN
from lfm_ros.serving.memory_budget import mission_budget
from linux_files import linux
import pytest
from support import assert_one_line
from support import open_model

MB = 1 << 20


@pytest.mark.parametrize('groups, files, expected', [
    ('0::/\n', {}, 900),
    ('0::/a/b\n', {'a/b/memory.max': 'max\n', 'a/b/memory.current': '5\n'}, 900),
    ('0::/a/b\n', {'a/b/memory.max': f'{500 * MB}\n', 'a/b/memory.current': f'{150 * MB}\n'}, 250),
    # What files it has in memory and does not use can be had.
    ('0::/a/b\n', {'a/memory.max': f'{500 * MB}\n', 'a/memory.current': f'{150 * MB}\n',
                   'a/memory.stat': f'anon 3\ninactive_file {50 * MB}\n'}, 300),
    # Weights that are mapped and in use count once.
    ('0::/a\n', {'a/memory.max': f'{500 * MB}\n', 'a/memory.current': f'{300 * MB}\n',
                 'a/memory.stat': f'inactive_file {50 * MB}\nactive_file {150 * MB}\n'}, 300),
    ('0::/../x\n', {'memory.max': f'{5000 * MB}\n', 'memory.current': '0\n'}, 900),
    ('4:memory:/d\n1:cpu:/d\n', {'memory/d/memory.limit_in_bytes': f'{300 * MB}\n',
                                 'memory/d/memory.usage_in_bytes': f'{100 * MB}\n'}, 100),
    ('4:memory:/d\n', {'memory/d/memory.limit_in_bytes': f'{100 * MB}\n',
                       'memory/d/memory.usage_in_bytes': f'{100 * MB}\n'}, 0),
])
def test_memory_is_available_as_far_as_the_machine_and_its_containers_have_it(
        tmp_path, groups, files, expected):
    assert available_bytes(linux(tmp_path, groups, files)) == expected * MB


def test_what_no_file_tells_is_not_guessed(tmp_path):
    assert available_bytes(tmp_path) is None
    assert available_bytes() > 0


def test_missions_may_take_half_of_it(monkeypatch, caplog):
    monkeypatch.setattr(memory_budget, 'available_bytes', lambda: 1000 * MB)
    with caplog.at_level('INFO'):
        assert mission_budget(open_model(), AUTO_BUDGET) == 500 * MB - MARGIN
    assert '50% of the 1000 MB' in caplog.text


def test_too_little_is_refused_with_the_arithmetic(monkeypatch):
    monkeypatch.setattr(memory_budget, 'available_bytes', lambda: 60 * MB)
    with pytest.raises(LfmError) as caught:
        mission_budget(open_model(), AUTO_BUDGET)
    assert caught.value.code == ErrorCode.BUDGET_TOO_SMALL
    assert_one_line(caught.value.message, '60 MB', '50%', 'memory.budget_mb')


def test_there_is_no_limit_where_nothing_is_known(monkeypatch, caplog):
    monkeypatch.setattr(memory_budget, 'available_bytes', lambda: None)
    assert mission_budget(open_model(), AUTO_BUDGET) == 0
    assert 'set memory.budget_mb' in caplog.text
