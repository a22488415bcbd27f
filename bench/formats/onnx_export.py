# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX export by the builder of onnxruntime-genai."""
from __future__ import annotations

from collections import Counter
from pathlib import Path
import subprocess
import sys
from typing import Any

import onnx
from random_vision_model import BUILD
from random_vision_model import ROOT

# What the builder is told beside int4; a model whose embedding is its head has it once, in int4.
# Those for the CPU compute in fp32, as files do that are published as q4; that for CUDA in fp16.
FORMATS = {
    'int4': ('block_size=64', 'shared_embeddings=true'),
    'int4-32': (),
    'int4-cuda': (),
    'int4-pruned': ('block_size=64', 'shared_embeddings=true', 'prune_lm_head=true'),
}
BLOCKS = {'int4': 64, 'int4-32': 32, 'int4-cuda': 32, 'int4-pruned': 64}
_TABLES = ('cos_cache', 'sin_cache')  # of rotary positions: the builder computes them
_DTYPES_OF_CONSTANTS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)


def export_onnx(checkpoint: Path, folder: Path, kind: str) -> None:
    """Run the builder; what it prints goes to a file beside the folder."""
    options = FORMATS[kind]
    provider = 'cuda' if kind.endswith('-cuda') else 'cpu'
    command = [sys.executable, '-c', BUILD, '-i', str(checkpoint), '-o', str(folder),
               '-p', 'int4', '-e', provider, '-c', str(folder.parent / 'cache')]
    command += ['--extra_options', *options] if options else []
    with (folder.parent / f'{folder.name}.log').open('w') as log:
        subprocess.run(command, check=True, cwd=ROOT / 'test' / 'models', stdout=log,
                       stderr=subprocess.STDOUT)


def weigh_onnx(folder: Path, vocabulary: int, block: int) -> dict[str, Any]:
    """
    Return the bytes of all weights and how the matrices are written.

    :raises RuntimeError: when a matrix, the head included, is not in int4 blocks of this size.
    """
    graph = onnx.load(str(folder / 'model.onnx'), load_external_data=False).graph
    matrices: Counter[str] = Counter()
    heads = []
    for node in graph.node:
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == 'MatMulNBits':
            matrices[f'int{values["bits"]} block {values["block_size"]}'] += 1
            if values['N'] == vocabulary:
                heads.append(node)
        elif node.op_type in ('MatMul', 'Gemm'):
            matrices[node.op_type] += 1
    if list(matrices) != [f'int4 block {block}'] or len(heads) != 1:
        raise RuntimeError(f'{folder}: {dict(matrices)}, quantized heads: {len(heads)}')
    return {'weight_bytes': sum(_weights(graph, heads[0]).values()), 'matrices': dict(matrices)}


def _weights(graph: onnx.GraphProto, head: onnx.NodeProto) -> dict[str, int]:
    """Return the bytes of each weight; an embedding beside the head that equals it counts not."""
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    found = {}
    for tensor in graph.initializer:
        copied = all(op.startswith('Gather') for op in readers.get(tensor.name, {'Gather'}))
        if (copied or tensor.name.endswith(_TABLES)
                or tensor.data_type in _DTYPES_OF_CONSTANTS):
            continue
        found[tensor.name] = _size(tensor)
    missing = [name for name in head.input[1:3] if name not in found]
    if missing:
        raise RuntimeError(f'the head has no weights of its own: {missing}')
    return found


def _size(tensor: onnx.TensorProto) -> int:
    for entry in tensor.external_data:
        if entry.key == 'length':
            return int(entry.value)
    return int(onnx.numpy_helper.to_array(tensor).nbytes)
