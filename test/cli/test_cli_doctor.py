# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`lfm doctor` says what a machine is, what runs best on it and what is wrong."""
from __future__ import annotations

import json

from lfm_ros.cli import doctor
from lfm_ros.cli.main import main
import pytest

PI_4 = {'board': 'Raspberry Pi 4 Model B Rev 1.5', 'arch': 'aarch64', 'cpu': '4 x Cortex-A72',
        'kinds': {'Cortex-A72': 4}, 'features': []}
ORIN = {'board': 'NVIDIA Jetson Orin Nano Developer Kit', 'arch': 'aarch64',
        'cpu': '6 x Cortex-A78AE', 'kinds': {'Cortex-A78AE': 6},
        'features': ['asimdhp', 'asimddp'], 'gpus': ['NVIDIA Jetson Orin Nano Developer Kit']}
MIXED = {'arch': 'aarch64', 'cpu': '4 x Cortex-A55, 4 x Cortex-A76', 'features': ['asimdhp'],
         'kinds': {'Cortex-A55': 4, 'Cortex-A76': 4}}


def facts(**changes):
    """Return the facts of this machine with others in their place."""
    well = {'memory_available_mb': 4000, 'disk_free_mb': 9000, 'gpus': [], 'idle_plugins': [],
            'onnxruntime': '1.31.1', 'providers': ['CPUExecutionProvider'], 'onnx': True,
            'cache_writable': True, 'ros': '', 'rclpy': True}
    return {**doctor.examine(), **well, **changes}


def test_this_machine_is_described(capsys):
    assert main(['doctor']) == 0
    said = capsys.readouterr().out
    for name in ('board', 'cpu', 'memory', 'gpu', 'runtime', 'disk', 'ros', 'python', 'advice'):
        assert f'\n{name:<12} ' in '\n' + said


def test_the_same_can_be_had_as_json(capsys):
    assert main(['doctor', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['cores'] > 0 and found['memory_mb'] > 0 and found['problems'] == [] or \
        all(isinstance(text, str) for text in found['problems'])
    assert set(found) >= {'board', 'cpu', 'arch', 'providers', 'advice', 'lfm_ros'}


def test_nothing_is_wrong_with_a_machine_that_has_all():
    assert doctor.find_problems(facts()) == []


@pytest.mark.parametrize('changes, word', [
    (PI_4, 'fp32 activations'), (MIXED, 'model.cores'), (ORIN, 'Take q4'),
    ({'providers': ['CUDAExecutionProvider', 'CPUExecutionProvider']}, 'auto')],
    ids=['Raspberry Pi 4', 'mixed cores', 'Orin on its CPU', 'a GPU'])
def test_what_runs_best_follows_from_the_machine(changes, word):
    assert any(word in sentence for sentence in doctor.advise(facts(**changes)))


@pytest.mark.parametrize('changes, word', [
    (ORIN, 'has no CUDAExecutionProvider'), ({'onnxruntime': '1.20.1'}, 'install a newer one'),
    ({'onnxruntime': '1.23.2'}, 'lfm prepare --portable'), ({'onnx': False}, 'package onnx'),
    ({'memory_available_mb': 300}, 'end other programs'),
    ({'disk_free_mb': 100}, 'model.cache_dir'), ({'cache_writable': False}, 'every start is slow'),
    ({'ros': 'kilted', 'rclpy': False}, 'rclpy is not found'),
    ({'idle_plugins': ['onnxruntime_ep_openvino']}, 'finds no device')])
def test_what_is_wrong_is_said_in_a_sentence_with_what_to_do(changes, word):
    found = doctor.find_problems(facts(**changes))
    assert len(found) == 1 and word in found[0]
    assert found[0].endswith('.') and '\n' not in found[0]
