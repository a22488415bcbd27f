# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Run a graph for the first time in another process, where it may use instructions that are missing.

ONNX Runtime 1.31 chooses 4-bit kernels with float16 activations on any ARM: on cores without such
arithmetic (Cortex-A72 and older) the session opens, and SIGILL ends the process at the first run.
"""
from __future__ import annotations

from pathlib import Path
import platform
import signal
import subprocess
import sys

from lfm_ros import cpu
from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.runtime.bindings import OpenGraph
from lfm_ros.engine.runtime.opening_limit import opening_seconds
from lfm_ros.engine.runtime.runner import Runner
from lfm_ros.engine.runtime.session import open_session
from lfm_ros.engine.runtime.signature import GraphSignature
from lfm_ros.engine.runtime.signature import read_signature
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.process import same_modules
import numpy as np

HALF = 'asimdhp'  # arithmetic in float16, as /proc/cpuinfo names it
_TOKENS = 16


def is_risky(signature: GraphSignature) -> bool:
    """Return whether a graph computes in float16 on an ARM core that may not be able to."""
    return platform.machine() in cpu.ARM and HALF not in cpu.features() and \
        any(t.dtype == np.float16 for t in signature.states)


def try_first_run(folder: ModelFolder) -> None:
    """
    Run a few tokens of a model in another process.

    :raises LfmError: UNSUPPORTED, when a signal ended it.
    """
    try:
        status = subprocess.run(
            [sys.executable, '-m', 'lfm_ros.engine.first_run', str(folder.graph)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=same_modules(), timeout=opening_seconds(folder.files), check=False).returncode
    except subprocess.TimeoutExpired:
        return  # the limit of opening it here will tell
    if status < 0:  # any other failure is explained where it is met again
        name = signal.Signals(-status).name
        raise LfmError(ErrorCode.UNSUPPORTED, f'{folder.graph.name} needs instructions that this '
                       f'CPU ({cpu.describe()}) lacks, its first run ended with {name}: take a '
                       'variant with fp32 activations, such as q4')


def main() -> None:
    """Run a few tokens of the graph that the command line names."""
    folder = find_model(Path(sys.argv[1]))
    session = open_session(folder.graph)
    signature = read_signature(session.get_inputs(), session.get_outputs(), folder.text_config,
                               folder.genai)
    runner = Runner(OpenGraph(session, signature), _TOKENS)
    runner.run(runner.new_state(), [1])


if __name__ == '__main__':
    main()
