# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Processors are told by their names, and a model keeps to those that it is given."""
from __future__ import annotations

import os
from pathlib import Path
import platform
import subprocess
import sys

from lfm_ros import cpu
from lfm_ros.engine import first_run
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime import probes
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from linux_files import linux
import numpy as np
import pytest
from support import assert_one_line
from support import DEFAULT
from support import folder
from support import open_model
from support import ROOT

PI_5 = '0xd0b', 'fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm asimddp'
PI_4 = '0xd08', 'fp asimd evtstrm crc32 cpuid'
ORIN = '0xd42', 'fp asimd aes atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp'


def cpuinfo(*cores, implementer='0x41'):
    """Return what 64-bit ARM kernels print for these cores."""
    return ''.join(
        f'processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n'
        f'CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: 0x4\n'
        f'CPU part\t: {part}\nCPU revision\t: 1\n\n' for n, (part, features) in enumerate(cores))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that makes this machine another one."""
    def become(text, arch='aarch64', tree=()):
        (tmp_path / 'cpuinfo').write_text(text)
        for number, kind in enumerate(tree):
            place = tmp_path / 'tree' / 'cpus' / f'cpu@{number}'
            place.mkdir(parents=True, exist_ok=True)
            (place / 'compatible').write_text(kind)
        monkeypatch.setattr(cpu, 'CPUINFO', tmp_path / 'cpuinfo')
        monkeypatch.setattr(cpu, 'DEVICE_TREE', tmp_path / 'tree')
        monkeypatch.setattr(platform, 'machine', lambda: arch)
    return become


def test_the_cores_of_boards_have_names(machine):
    machine(cpuinfo(*[PI_5] * 4))
    assert cpu.describe() == '4 x Cortex-A76'
    machine(cpuinfo(*[PI_4] * 4))
    assert cpu.describe() == '4 x Cortex-A72'
    machine(cpuinfo(*[ORIN] * 6))
    assert cpu.describe() == '6 x Cortex-A78AE'
    machine(cpuinfo(*[('0xd05', 'fp asimd')] * 4, *[PI_5] * 2))
    assert cpu.describe() == '4 x Cortex-A55, 2 x Cortex-A76'
    machine(cpuinfo(('0xfff', 'fp'), implementer='0x41'))
    assert cpu.describe() == '1 x ARM part 0xfff'


def test_what_all_cores_can_do_is_told(machine):
    machine(cpuinfo(PI_5, PI_4))
    assert 'asimd' in cpu.features() and 'asimdhp' not in cpu.features()
    machine('')
    assert cpu.features() == frozenset() and cpu.describe() == 'aarch64'


def test_the_key_of_a_machine_outlives_a_cluster_that_is_switched_off(machine):
    tree = ['arm,cortex-a55\0'] * 4 + ['arm,cortex-a76\0'] * 4
    machine(cpuinfo(*[('0xd05', PI_5[1])] * 4, *[PI_5] * 4), tree=tree)
    both = cpu.key()
    machine(cpuinfo(*[('0xd05', PI_5[1])] * 4), tree=tree)
    assert cpu.key() == both
    machine(cpuinfo(*[PI_4] * 4), tree=['arm,cortex-a72\0'])
    assert cpu.key() != both


def test_another_processor_has_another_key(machine):
    keys = set()
    for core in (PI_4, PI_5, ORIN):
        machine(cpuinfo(*[core] * 4))
        keys.add(cpu.key())
    assert len(keys) == 3


def test_lists_of_cores_are_read():
    allowed = sorted(os.sched_getaffinity(0))
    assert cpu.parse_cores('') == () and cpu.parse_cores(str(allowed[0])) == (allowed[0],)
    assert cpu.parse_cores(f' {allowed[-1]}, {allowed[0]} ') == tuple(
        dict.fromkeys((allowed[-1], allowed[0])))


@pytest.mark.parametrize('text', ['a', '1-', '-1', '0;1', '9999', '0-9999'])
def test_lists_that_are_none_are_refused_with_a_sentence(text):
    with pytest.raises(ValueError) as caught:
        cpu.parse_cores(text)
    assert_one_line(str(caught.value), repr(text))


PINNED = """
import os, sys
sys.path[:0] = [{root!r}]
from pathlib import Path
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime import probes
before = set(os.listdir('/proc/self/task'))
model = Model({folder!r}, ModelOptions(cores={cores!r}), with_text=False)
model.warm_up()
threads = [*(set(os.listdir('/proc/self/task')) - before), str(os.getpid())]
for thread in threads:
    try:
        text = Path(f'/proc/self/task/{{thread}}/status').read_text()
    except FileNotFoundError:  # the one that watched the opening has just ended
        continue
    print(text.partition('Cpus_allowed_list:')[2].split()[0])
"""


def test_the_threads_of_a_model_stay_on_its_cores():
    cores = tuple(sorted(os.sched_getaffinity(0)))[:2]
    if len(cores) < 2:
        pytest.skip('this machine has one core')
    script = PINNED.format(root=str(ROOT), folder=str(folder(DEFAULT)), cores=cores)
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True,
                          check=True)
    found = done.stdout.split()
    assert str(cores[1]) in found, 'a thread of its pool is on the second core'
    assert {f'{cores[0]}-{cores[1]}', f'{cores[0]},{cores[1]}'} & set(found)


def test_a_model_on_one_core_has_one_thread():
    core = min(os.sched_getaffinity(0))
    model = Model(folder(DEFAULT), ModelOptions(cores=(core,)))
    assert model.session.get_session_options().intra_op_num_threads == 1


def test_a_graph_in_float16_is_tried_first_where_cores_may_lack_it(machine, monkeypatch):
    half, full = (open_model(name).signature for name in ('lfm2-past-conv-fp16', DEFAULT))
    machine(cpuinfo(PI_4))
    assert first_run.is_risky(half) and not first_run.is_risky(full)
    machine(cpuinfo(PI_5))
    assert not first_run.is_risky(half)
    machine('processor: 0\nflags: fpu\n', arch='x86_64')
    assert not first_run.is_risky(half)


def test_a_first_run_in_another_process_that_ends_well_says_nothing():
    first_run.try_first_run(find_model(folder('lfm2-past-conv-fp16')))


def test_a_first_run_that_a_signal_ends_is_refused_with_a_sentence(machine, monkeypatch, tmp_path):
    program = tmp_path / 'python'
    program.write_text('#!/bin/sh\nkill -ILL $$\n')
    program.chmod(0o755)
    machine(cpuinfo(PI_4))
    monkeypatch.setattr(sys, 'executable', str(program))
    with pytest.raises(LfmError) as caught:
        Model(Path(folder('lfm2-past-conv-fp16')), ModelOptions(threads=1))
    assert caught.value.code == ErrorCode.UNSUPPORTED
    assert_one_line(caught.value.message, 'SIGILL', 'Cortex-A72', 'fp32 activations')


@pytest.mark.parametrize('arch, wanted', [('aarch64', '1'), ('x86_64', None)])
def test_attention_that_groups_rows_is_off_on_arm(arch, wanted):
    script = ('import platform, os, sys; sys.path[:0] = [sys.argv[1]]\n'
              'platform.machine = lambda: sys.argv[2]\n'
              'from lfm_ros.engine.runtime.session import EXACT_ATTENTION\n'
              'print(os.environ.get(EXACT_ATTENTION))')
    environment = {k: v for k, v in os.environ.items() if k != 'ORT_GQA_DISABLE_FLASH_ATTENTION'}
    done = subprocess.run([sys.executable, '-c', script, str(ROOT), arch], capture_output=True,
                          text=True, check=True, env=environment)
    assert done.stdout.strip() == str(wanted)


@pytest.mark.parametrize('past', [2, 13, 29, 60])
def test_rows_that_depend_on_those_behind_them_are_found_out(past, monkeypatch):
    model = open_model('lfm2-past-conv-odd')
    runner, run = model.runner, model.runner.run

    def grouped(state, ids, every=False, **more):
        """Change the last bit of rows whose group of a multiple of the past goes on behind."""
        end = state.position + len(ids)
        logits = run(state, ids, every=every, **more)
        if every and end // (past + 2) > state.position // (past + 2):
            logits = logits.copy()
            logits[0] = np.nextafter(logits[0], np.float32(np.inf))
        return logits

    monkeypatch.setattr(runner, 'run', grouped)
    assert not probes._rows_stand_alone(runner, past)


@pytest.mark.parametrize('groups, files, expected', [
    ('0::/a/b\n', {}, 0),
    ('0::/a/b\n', {'a/b/cpu.max': 'max 100000\n'}, 0),
    ('0::/a/b\n', {'a/b/cpu.max': '250000 100000\n'}, 2),
    ('0::/a/b\n', {'a/b/cpu.max': '350000 100000\n', 'a/cpu.max': '150000 100000\n'}, 1),
    ('0::/\n', {'cpu.max': '50000 100000\n'}, 1),
    ('0::/\n', {'cpu.max': '900000 100000\n'}, 0),
    # In a container the path may be that of the host.
    ('2:cpu,cpuacct:/docker/x\n', {'cpu/cpu.cfs_quota_us': '300000\n',
                                   'cpu/cpu.cfs_period_us': '100000\n'}, 3),
    ('2:cpu:/\n', {'cpu/cpu.cfs_quota_us': '-1\n', 'cpu/cpu.cfs_period_us': '100000\n'}, 0),
    ('2:memory:/\n', {'cpu/cpu.cfs_quota_us': '100000\n', 'cpu/cpu.cfs_period_us': '100000\n'},
     0),
])
def test_a_container_gets_as_many_threads_as_it_may_keep_busy(
        monkeypatch, tmp_path, groups, files, expected):
    monkeypatch.setattr(cpu, 'CPUINFO', tmp_path / 'nothing')
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(4)))
    monkeypatch.setattr(os, 'cpu_count', lambda: 4)
    assert cpu.usable_threads(linux(tmp_path, groups, files)) == expected


def test_a_process_that_is_kept_to_some_cores_gets_a_thread_for_each(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, 'CPUINFO', tmp_path / 'nothing')
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {2, 3})
    monkeypatch.setattr(os, 'cpu_count', lambda: 4)
    assert cpu.usable_threads(tmp_path) == 2
    from lfm_ros.engine.runtime.session import session_options
    monkeypatch.setattr('lfm_ros.engine.runtime.session.usable_threads', lambda: 2)
    assert session_options().intra_op_num_threads == 2
    assert session_options(threads=3).intra_op_num_threads == 3


def test_hardware_threads_of_one_core_count_once(monkeypatch, tmp_path):
    (tmp_path / 'cpuinfo').write_text(''.join(
        f'processor\t: {n}\nphysical id\t: 0\ncore id\t: {n // 2}\n\n' for n in range(8)))
    monkeypatch.setattr(cpu, 'CPUINFO', tmp_path / 'cpuinfo')
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(8)))
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    quota = linux(tmp_path, '0::/\n', {'cpu.max': '600000 100000\n'})
    assert cpu.usable_threads(quota) == 0
    (tmp_path / 'sys/fs/cgroup/cpu.max').write_text('300000 100000\n')
    assert cpu.usable_threads(quota) == 3
