# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Compute in float16 what an export for the CPU computes in float32."""
from __future__ import annotations

from pathlib import Path

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
import onnx


def write_float16(source: Path, target: Path) -> None:
    """
    Write a graph that computes in float16, inputs, outputs and state included.

    CUDA has attention in float16 and bfloat16 only: float32 would go over the bus to the CPU at
    every layer of every token. The weights are loaded for it.

    :param target: its weights go to ``target`` with ``.data`` behind.
    :raises LfmError: MODEL_FOREIGN, when it cannot be converted.
    """
    # Its package puts a folder of its own on the path of all modules.
    from onnxruntime.transformers.float16 import convert_float_to_float16
    model = onnx.load(source)
    try:
        found = convert_float_to_float16(model, keep_io_types=False, disable_shape_infer=True,
                                         force_fp16_initializers=True)
    except Exception as error:  # whatever it meets in a graph that it does not know
        raise LfmError(ErrorCode.MODEL_FOREIGN, f'{source.name} cannot be converted to float16 '
                       f'({quote(str(error))}): take an export for the GPU') from error
    onnx.save(found, target, save_as_external_data=True, location=f'{target.name}.data')
