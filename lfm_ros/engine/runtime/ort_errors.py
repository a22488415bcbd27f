# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of ONNX Runtime in the middle of a run."""
from __future__ import annotations

import re

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError


class BufferReuseError(LfmError):
    """The graph declares sizes equal that differ; it may not reuse memory within a run."""


class DeviceLostError(LfmError):
    """The GPU does no more work for this process: the context of CUDA does not recover."""


# What CUDA answers to every call from then on: its names, and its words for them.
_LOST = re.compile(
    r'cudaError(IllegalAddress|LaunchFailure|LaunchTimeout|Assert|ECCUncorrectable|'
    r'HardwareStackError|IllegalInstruction|MisalignedAddress|InvalidAddressSpace|InvalidPc|'
    r'NvlinkUncorrectable|ContextIsDestroyed|DeviceUnavailable)|'
    r'illegal memory access|unspecified launch failure|device-side assert|launch timed out|'
    r'uncorrectable ECC|hardware stack error|illegal instruction|misaligned address|'
    r'GPU (is lost|has fallen off)|context is destroyed', re.IGNORECASE)


def ran_out_of_memory(text: str) -> bool:
    """Return whether an error is for want of memory (texts of CPU, CUDA, cuDNN, TensorRT)."""
    return bool(re.search(r'bad_alloc|Failed to allocate|out ?of ?memory|ALLOC_FAILED|'
                          r'MemoryAllocation', text, re.IGNORECASE))


def run_error(error: BaseException, what: str = 'model') -> LfmError:
    """Return the error of a run of ONNX Runtime or of the tokenizer."""
    text = ' '.join(str(error).split())
    text = text if len(text) < 400 else f'{text[:200]} ... {text[-200:]}'
    if _LOST.search(text):
        return DeviceLostError(ErrorCode.MODEL_HUNG, 'the GPU has failed and does no more work '
                               'for this process: restart the process, which restores its '
                               f'missions from missions.dir ({text})')
    if ran_out_of_memory(text):
        return LfmError(ErrorCode.OUT_OF_MEMORY, f'the {what} ran out of memory: use a smaller '
                        f'model or context ({text})')
    if 're-use buffer' in text:
        return BufferReuseError(ErrorCode.MODEL_RUN_FAILED,
                                f'the {what} failed while it ran: {text}')
    return LfmError(ErrorCode.MODEL_RUN_FAILED, f'the {what} failed while it ran: {text}')
