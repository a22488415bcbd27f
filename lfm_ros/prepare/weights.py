# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers of a model: where they lie, and how to write them to one file."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import BinaryIO

from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.graph import branches
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import is_external
import numpy as np
import onnx
from onnx import helper
from onnx import numpy_helper

_LARGE = 1024        # bytes from which a weight is better kept outside of the graph
_INLINE = 1 << 20    # bytes of a weight for whose sake a file of weights is written anew
_ALIGNED = 4096      # so that each can be mapped into memory
_CHUNK_BYTES = 4 << 20


def tensors(graph: Any) -> Iterator[Any]:
    """Yield the weights of a GraphProto, those of its branches too."""
    yield from graph.initializer
    for node in graph.node:
        for inner in branches(node):
            yield from tensors(inner)


def location(tensor: Any) -> tuple[str, int, int]:
    """Return file name, offset and length (0: to the end) of a weight in another file."""
    entries = {e.key: e.value for e in tensor.external_data}
    return (entries.get('location', ''), int(entries.get('offset', 0)),
            int(entries.get('length', 0)))


def external_files(graph: Graph) -> list[str]:
    """Return the names of the files in which weights of a graph lie."""
    return sorted({location(t)[0] for t in tensors(graph.proto) if is_external(t)})


def read(tensor: Any, folder: Path) -> np.ndarray:
    """
    Return a weight as an array.

    :raises LfmError: when its file is missing or too short.
    """
    if not is_external(tensor):
        return numpy_helper.to_array(tensor)
    name, offset, length = location(tensor)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    count = int(np.prod(tensor.dims, dtype=np.int64))
    try:
        found = np.fromfile(folder / name, dtype, count, offset=offset)
    except OSError as error:
        raise _missing(folder, name) from error
    if len(found) < count:
        raise _missing(folder, name)
    return found.reshape(tuple(tensor.dims))


def _missing(folder: Path, name: str) -> LfmError:
    return LfmError(ErrorCode.WEIGHTS_MISSING, f'the weights {folder / name} are missing or '
                    'shorter than the graph says: copy all files of the model')


def write(graph: Graph, source: Path, target: Path,
          progress: Callable[[int], None] = lambda count: None) -> None:
    """
    Write a graph with all its large weights in one file beside it.

    :param source: folder in which the weights lie now.
    :param target: file of the graph; the weights go to ``target`` with ``.data`` behind.
    :param progress: called with the number of bytes of weights as they are written.
    """
    data = target.with_name(f'{target.name}.data')
    large = [t for t in tensors(graph.proto) if is_external(t) or len(t.raw_data) >= _LARGE]
    with data.open('wb') as stream:
        for tensor in large:
            stream.seek(-stream.tell() % _ALIGNED, 1)
            start = stream.tell()
            if is_external(tensor):
                _copy(tensor, source, stream, progress)
            else:
                stream.write(tensor.raw_data)
                progress(len(tensor.raw_data))
            _refer(tensor, data.name, start, stream.tell() - start)
    if not large:
        data.unlink()
    target.write_bytes(graph.model.SerializeToString())


def is_scattered(graph: Graph) -> bool:
    """Return whether large weights lie in the graph, or in several files."""
    return len(external_files(graph)) > 1 or any(
        len(t.raw_data) >= _INLINE for t in tensors(graph.proto) if not is_external(t))


def refer_to(graph: Graph, name: str) -> None:
    """Let a graph whose weights all lie in one file find them under another name."""
    for tensor in tensors(graph.proto):
        if is_external(tensor):
            for entry in tensor.external_data:
                if entry.key == 'location':
                    entry.value = name


def _copy(tensor: Any, source: Path, stream: BinaryIO, progress: Callable[[int], None]) -> None:
    name, offset, length = location(tensor)
    try:
        with (source / name).open('rb') as origin:
            origin.seek(offset)
            copy_bytes(origin, stream, length or (source / name).stat().st_size - offset,
                       progress)
    except (FileNotFoundError, EOFError) as error:
        raise _missing(source, name) from error


def copy_bytes(origin: BinaryIO, stream: BinaryIO, size: int,
               progress: Callable[[int], None] = lambda count: None) -> None:
    """
    Copy so many bytes from one file to another.

    :raises EOFError: when there are not so many.
    """
    while size:
        chunk = origin.read(min(size, _CHUNK_BYTES))
        if not chunk:
            raise EOFError
        stream.write(chunk)
        progress(len(chunk))
        size -= len(chunk)


def copy_file(origin: Path, target: Path, progress: Callable[[int], None]) -> None:
    """Copy a file of weights."""
    try:
        size = origin.stat().st_size
    except FileNotFoundError as error:
        raise _missing(origin.parent, origin.name) from error
    with origin.open('rb') as source, target.open('wb') as stream:
        copy_bytes(source, stream, size, progress)


def _refer(tensor: Any, name: str, offset: int, length: int) -> None:
    del tensor.external_data[:]
    tensor.ClearField('raw_data')
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (('location', name), ('offset', offset), ('length', length)):
        tensor.external_data.add(key=key, value=str(value))
