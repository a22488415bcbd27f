# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the files to lint, and what to leave out where a tool is missing."""
from importlib.util import find_spec
import os
from pathlib import Path
import signal
from tempfile import TemporaryDirectory

import device_memory
import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_TESTS = 'test_launch*.py'
HAS_LAUNCH_TESTING = find_spec('launch_testing') is not None

# A shell that starts the tests in the background has SIGINT ignored, and what is ignored stays so
# in every process from here on; the nodes under test must get it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Prepared graphs of the fixtures are no business of the user's cache; nodes under test inherit it.
_CACHE = TemporaryDirectory(prefix='lfm_ros_cache_')
os.environ['XDG_CACHE_HOME'] = _CACHE.name

# Before any import of ONNX Runtime, which reads it then.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

from lfm_ros.engine.grammar import grammar  # noqa: E402, I100
from lfm_ros.engine.text import template_process  # noqa: E402
from waiting import PATIENCE  # noqa: E402

collect_ignore_glob = [] if HAS_LAUNCH_TESTING else [f'*/{LAUNCH_TESTS}']


# Limits of the package for a machine that is as fast as it is.
for _limit in ('START_SECONDS', 'COMPILE_SECONDS', 'REPLY_SECONDS'):
    setattr(grammar, _limit, getattr(grammar, _limit) * PATIENCE)
template_process.SHARED._seconds *= PATIENCE

# What states do is tried in the memory of the host and, without a device, in that of one.
BOTH_MEMORIES = (
    'test_state', 'test_slide', 'test_batch', 'test_prompt_lookup', 'test_missions',
    'test_mission_rewind', 'test_mission_sequences', 'test_checkpoints', 'test_kills')


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__ in BOTH_MEMORIES:
        metafunc.parametrize('memory_kind', [device_memory.HOST_KIND, device_memory.DEVICE_KIND],
                             indirect=True, scope='module')


@pytest.fixture(scope='module', autouse=True)
def memory_kind(request):
    """Open models in one kind of memory or the other."""
    kind = getattr(request, 'param', device_memory.HOST_KIND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(device_memory.VARIABLE, kind)
        if kind == device_memory.DEVICE_KIND:
            device_memory.install(patch.setattr)
        yield kind


def pytest_terminal_summary(terminalreporter):
    left_out = sorted(path.name for path in Path(__file__).parent.rglob(LAUNCH_TESTS))
    if left_out and not HAS_LAUNCH_TESTING:
        terminalreporter.write_line(
            f'SKIPPED {", ".join(left_out)}: launch_testing is not installed (the ROS 2 wheels '
            'lack it; it comes with an installed ROS 2)')


@pytest.fixture(scope='session')
def python_files():
    """Return the Python files of the repository; what was built or installed is not among them."""
    folders = ('bench', 'examples', 'launch', 'lfm_ros', 'test', 'tools', 'training')
    files = list(ROOT.glob('*.py'))
    for folder in folders:
        files += (ROOT / folder).rglob('*.py')
    return sorted(files)


@pytest.fixture(params=[True, False], ids=['shared', 'growing'])
def shared(request, model, monkeypatch):
    """Try both kinds of states of the model that a test file gives."""
    if request.param and not model.runner.shared:
        pytest.skip('this graph cannot append in place')
    monkeypatch.setattr(model.runner, 'shared', request.param)
