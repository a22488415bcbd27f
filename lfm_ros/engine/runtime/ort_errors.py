# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of ONNX Runtime in the middle of a run."""
from __future__ import annotations

import re

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError


class BufferReuseError(LfmError):
    """The graph declares sizes equal that differ; it may not reuse memory within a run."""


def ran_out_of_memory(text: str) -> bool:
    """Return whether an error is for want of memory (texts of CPU, CUDA, cuDNN, TensorRT)."""
    return bool(re.search(r'bad_alloc|Failed to allocate|out ?of ?memory|ALLOC_FAILED|'
                          r'MemoryAllocation', text, re.IGNORECASE))


def run_error(error: BaseException, what: str = 'model') -> LfmError:
    """Return the error of a run of ONNX Runtime or of the tokenizer."""
    text = ' '.join(str(error).split())
    text = text if len(text) < 400 else f'{text[:200]} ... {text[-200:]}'
    if ran_out_of_memory(text):
        return LfmError(ErrorCode.OUT_OF_MEMORY, f'the {what} ran out of memory: use a smaller '
                        f'model or context ({text})')
    if 're-use buffer' in text:
        return BufferReuseError(ErrorCode.MODEL_RUN_FAILED,
                                f'the {what} failed while it ran: {text}')
    return LfmError(ErrorCode.MODEL_RUN_FAILED, f'the {what} failed while it ran: {text}')
