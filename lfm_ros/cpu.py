# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The processor and the board of this machine, by their names."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
import hashlib
import os
from pathlib import Path
import platform
import re

from lfm_ros.control_groups import cpu_quota
from lfm_ros.control_groups import ROOT

CPUINFO = Path('/proc/cpuinfo')
DEVICE_TREE = Path('/proc/device-tree')
ARM = ('aarch64', 'arm64')
# Of 64-bit ARM, by implementer and part as /proc/cpuinfo gives them (lscpu of util-linux 2.40).
_IMPLEMENTERS = {'0x41': 'ARM', '0x4e': 'NVIDIA', '0x51': 'Qualcomm', '0x61': 'Apple',
                 '0xc0': 'Ampere'}
_PARTS = {
    '0x41': {
        '0xd03': 'Cortex-A53', '0xd04': 'Cortex-A35', '0xd05': 'Cortex-A55',
        '0xd07': 'Cortex-A57', '0xd08': 'Cortex-A72', '0xd09': 'Cortex-A73',
        '0xd0a': 'Cortex-A75', '0xd0b': 'Cortex-A76', '0xd0c': 'Neoverse-N1',
        '0xd0d': 'Cortex-A77', '0xd0e': 'Cortex-A76AE', '0xd40': 'Neoverse-V1',
        '0xd41': 'Cortex-A78', '0xd42': 'Cortex-A78AE', '0xd44': 'Cortex-X1',
        '0xd46': 'Cortex-A510', '0xd47': 'Cortex-A710', '0xd48': 'Cortex-X2',
        '0xd49': 'Neoverse-N2', '0xd4a': 'Neoverse-E1', '0xd4b': 'Cortex-A78C',
        '0xd4d': 'Cortex-A715', '0xd4e': 'Cortex-X3', '0xd4f': 'Neoverse-V2',
        '0xd80': 'Cortex-A520', '0xd81': 'Cortex-A720', '0xd82': 'Cortex-X4',
        '0xd83': 'Neoverse-V3AE', '0xd84': 'Neoverse-V3', '0xd85': 'Cortex-X925',
        '0xd87': 'Cortex-A725', '0xd8e': 'Neoverse-N3'},
    '0x4e': {'0x003': 'Denver 2', '0x004': 'Carmel'},
    '0xc0': {'0xac3': 'Ampere-1', '0xac4': 'Ampere-1a'},
}


def processors() -> list[dict[str, str]]:
    """Return what /proc/cpuinfo says of each processor that is online."""
    try:
        text = CPUINFO.read_text(errors='replace')
    except OSError:
        return []
    found = []
    for block in text.split('\n\n'):
        fields = {name.strip(): ' '.join(value.split()) for name, colon, value in
                  (line.partition(':') for line in block.splitlines()) if colon}
        if 'processor' in fields:
            found.append(fields)
    return found


def core_names() -> dict[str, int]:
    """Return how many processors of each kind are online, by their names."""
    return dict(Counter(_name(fields) for fields in processors()))


def describe() -> str:
    """Return the names of the cores in one line: ``4 x Cortex-A76``, or the name of the chip."""
    found = core_names()
    if platform.machine() not in ARM:
        return next(iter(found), platform.processor() or platform.machine())
    return ', '.join(f'{count} x {name}' for name, count in found.items()) or platform.machine()


def features() -> frozenset[str]:
    """Return the instructions that all processors have, as Linux names them."""
    sets = [set(fields.get('Features', fields.get('flags', '')).split())
            for fields in processors()]
    return frozenset(set.intersection(*sets)) if sets else frozenset()


def board() -> str:
    """Return the name of the board, where firmware tells it: those of ARM do."""
    with suppress(OSError):
        return (DEVICE_TREE / 'model').read_bytes().decode(errors='replace').strip('\0')
    return ''


def key() -> str:
    """
    Return a digest of what the processor can do.

    Cores that are switched off now must not change it: where a device tree lists all of them, they
    are taken from there.
    """
    telling = {platform.processor()}
    kinds = sorted({path.read_bytes().decode(errors='replace') for path in
                    (DEVICE_TREE / 'cpus').glob('cpu@*/compatible')})
    names = ('Features',) if kinds else (
        'model name', 'flags', 'Features', 'CPU implementer', 'CPU part', 'isa')
    for fields in processors():
        telling.update(f'{name}: {fields[name]}' for name in names if name in fields)
    return hashlib.sha256('\n'.join([*sorted(telling), *kinds]).encode()).hexdigest()[:16]


def parse_cores(text: str) -> tuple[int, ...]:
    """
    Return the processors that a list like ``4-7`` or ``0,2-3`` names; empty: any.

    :raises ValueError: in one sentence, when it is none or this process may not use them.
    """
    found: list[int] = []
    for part in filter(None, text.replace(' ', '').split(',')):
        match = re.fullmatch(r'(\d{1,4})(?:-(\d{1,4}))?', part)
        if not match:
            raise ValueError(f"{text!r} is no list of cores: write '4-7' or '0,2,3'")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    missing = sorted(set(found) - os.sched_getaffinity(0))
    if missing:
        raise ValueError(f'core {missing[0]} of {text!r} is not there or not allowed: choose from '
                         f'{", ".join(map(str, sorted(os.sched_getaffinity(0))))}')
    return tuple(dict.fromkeys(found))


def usable_threads(root: Path = ROOT) -> int:
    """
    Return how many threads this process can keep busy; 0: one for each core of the machine.

    ONNX Runtime counts the cores of the machine, also in a container that may not use them all:
    its threads would then spin while the kernel holds back those that have work.
    """
    allowed, count = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    quota = cpu_quota(root) or count
    # As ONNX Runtime, one for each core and not for each of its hardware threads.
    cores = {(p.get('physical id'), p['core id']) for p in processors() if 'core id' in p}
    found = max(1, min(allowed, int(quota), len(cores) or count))
    return found if allowed < count or found < (len(cores) or count) else 0


def pin_thread(cores: Sequence[int]) -> None:
    """Keep the thread that calls this on these processors; empty: leave it where it is."""
    if cores:
        os.sched_setaffinity(0, cores)


def _name(fields: dict[str, str]) -> str:
    implementer, part = fields.get('CPU implementer', ''), fields.get('CPU part', '')
    if not implementer:
        return fields.get('model name') or platform.processor() or platform.machine()
    known = _PARTS.get(implementer, {}).get(part)
    return known or f'{_IMPLEMENTERS.get(implementer, implementer)} part {part}'
