# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Say what this machine is, what runs best on it, and what is wrong.

Paste the output, or that of --json, into a report. Nothing of it tells who or where you are.
"""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib.util import find_spec
import os
import platform
import shutil
from typing import Any

from lfm_ros import cpu
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.cli.version import PACKAGE
from lfm_ros.cli.version import version
from lfm_ros.engine.runtime.execution_provider import available_providers
from lfm_ros.engine.runtime.execution_provider import CUDA
from lfm_ros.engine.runtime.execution_provider import find_plugins
from lfm_ros.prepare.machine_id import gpu_names
from lfm_ros.prepare.open_model import default_cache
import onnxruntime

MB = 1 << 20
# Of /proc/cpuinfo, those for which ONNX Runtime has kernels.
TELLING = ('asimdhp', 'asimddp', 'i8mm', 'bf16', 'sve', 'avx2', 'f16c', 'avx512f', 'avx512_vnni',
           'avx_vnni', 'amx_int8')
# Versions that graphs need: the oldest that is supported, and that of the newest exports.
OLDEST, NEWEST_EXPORTS = (1, 23), (1, 29)
# MB of the smallest model in int4: the whole node with a mission of 4,107 tokens, measured
# (bench/RESULTS.md), and three times its files, as much as preparing them may take on disk.
NODE_MB, DISK_MB = 535, 711


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; 0 also where something is wrong."""
    facts = examine()
    advice, problems = advise(facts), find_problems(facts)
    if arguments.json:
        print_json({**facts, 'advice': advice, 'problems': problems})
        return 0
    rows = {
        'board': facts['board'] or 'no name', 'cpu': f"{facts['cpu']} ({facts['arch']})",
        'instructions': ', '.join(facts['features']) or 'none that kernels are chosen by',
        'memory': f"{facts['memory_mb']:,} MB, {facts['memory_available_mb']:,} MB available",
        'gpu': ', '.join(facts['gpus']) or 'none found',
        'runtime': f"ONNX Runtime {facts['onnxruntime']}, {', '.join(facts['providers'])}",
        'disk': f"{facts['disk_free_mb']:,} MB free in the cache folder",
        'ros': facts['ros'] or 'not sourced', 'python': facts['python'],
        PACKAGE: facts[PACKAGE] or 'unknown version'}
    for name, text in rows.items():
        print_text(f'{name:<12} {text}')
    for label, sentences in (('advice', advice), ('problem', problems)):
        for sentence in sentences:
            print_text(f'{label:<12} {sentence}')
    if not problems:
        print_text(f'{"problem":<12} none found')
    return 0


def examine() -> dict[str, Any]:
    """Return the facts; sizes in MB."""
    cache = default_cache()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    return {
        'board': cpu.board(), 'cpu': cpu.describe(), 'arch': platform.machine(),
        'cores': len(os.sched_getaffinity(0)), 'kinds': cpu.core_names(),
        'features': [name for name in TELLING if name in cpu.features()],
        'memory_mb': os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // MB,
        'memory_available_mb': os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // MB,
        'gpus': gpu_names() or [name for name in [cpu.board()] if 'NVIDIA' in name],
        'onnxruntime': onnxruntime.__version__,
        'providers': available_providers(), 'idle_plugins': find_plugins().idle,
        'disk_free_mb': shutil.disk_usage(existing).free // MB,
        'cache_writable': os.access(existing, os.W_OK),
        'ros': os.environ.get('ROS_DISTRO', ''), 'rclpy': find_spec('rclpy') is not None,
        'onnx': find_spec('onnx') is not None, 'python': platform.python_version(),
        'system': platform.platform(), PACKAGE: version()}


def advise(facts: Mapping[str, Any]) -> list[str]:
    """Return what runs best on a machine with these facts, in sentences."""
    found = []
    on_gpu = CUDA in facts['providers']
    if on_gpu:
        found.append('Take an int4 or fp16 export; model.providers: [auto] measures whether the '
                     'GPU is faster.')
    elif facts['arch'] in cpu.ARM and 'asimdhp' not in facts['features']:
        found.append('Take q4 with fp32 activations (model_q4.onnx): these cores have no '
                     'arithmetic in fp16, and graphs with fp16 activations do not run.')
    else:
        found.append('Take q4 (model_q4.onnx, or onnxruntime-genai -p int4 -e cpu).')
    found.append(f'{facts["memory_available_mb"]:,} MB of memory are available; LFM2-350M in int4 '
                 f'takes {NODE_MB} with a mission of 4,107 tokens, others as much more as their '
                 'files are larger.')
    kinds = facts['kinds']
    if facts['arch'] in cpu.ARM and len(kinds) > 1:
        found.append(f'The cores are not alike ({facts["cpu"]}): name the faster ones in '
                     'model.cores, or every operator waits for the slowest.')
    return found


def find_problems(facts: Mapping[str, Any]) -> list[str]:
    """Return what is wrong, each in one sentence that says what to do."""
    found = []
    runtime = tuple(int(part) for part in facts['onnxruntime'].split('.')[:2])
    if runtime < OLDEST:
        found.append(f'ONNX Runtime {facts["onnxruntime"]} is older than '
                     f'{OLDEST[0]}.{OLDEST[1]}: install a newer one.')
    elif runtime < NEWEST_EXPORTS:
        found.append(f'ONNX Runtime {facts["onnxruntime"]} lacks operators of exports made by '
                     'onnxruntime-genai 0.16 and later: run lfm prepare --portable on them.')
    gpus = facts['gpus']
    if gpus and CUDA not in facts['providers']:
        found.append(f'There is a GPU ({", ".join(gpus)}) and this build of ONNX Runtime has no '
                     f'{CUDA}: install one with CUDA to use it, see "On an NVIDIA GPU" in the '
                     'guide.')
    if facts['idle_plugins']:
        found.append(f'{", ".join(facts["idle_plugins"])} is installed and finds no device here: '
                     'remove it, or install what it needs.')
    if facts['memory_available_mb'] < NODE_MB:
        found.append(f'{facts["memory_available_mb"]:,} MB of memory are available and LFM2-350M '
                     f'takes {NODE_MB}: end other programs.')
    if facts['disk_free_mb'] < DISK_MB:
        found.append(f'{facts["disk_free_mb"]:,} MB of disk are free and preparing LFM2-350M '
                     f'takes {DISK_MB}: free some, or set model.cache_dir.')
    if not facts['cache_writable']:
        found.append('The cache folder cannot be written to, so every start is slow: make it '
                     'writable, or set model.cache_dir.')
    if not facts['onnx']:
        found.append('The Python package onnx is missing, so graphs are not prepared: install '
                     'it.')
    if facts['ros'] and not facts['rclpy']:
        found.append(f'ROS {facts["ros"]} is sourced and rclpy is not found: use the Python of '
                     'that distribution.')
    return found
