# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Let ONNX Runtime write a graph as it would run it on this machine."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
import re
import shutil
from tempfile import TemporaryDirectory
from typing import Any

from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.session import session_options
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import is_external
from lfm_ros.prepare.graph import load
from lfm_ros.prepare.weights import copy_bytes
from lfm_ros.prepare.weights import external_files
from lfm_ros.prepare.weights import location
from lfm_ros.prepare.weights import tensors
import onnxruntime

# Bytes: what kernels ask for, and what they get where the file is written anew.
_NEEDED, _ALIGNED = 64, 256

# In an entry "prepacked_0": where a weight that a kernel has packed lies, and its size.
_BLOB = re.compile(r'\|(\d+);(\d+);')

_FOLDER_OF_WEIGHTS = 'session.model_external_initializers_file_folder_path'


def save_optimized(graph: Graph, weights: Path, target: Path, reuse: bool = True,
                   prepacked: bool = True, providers: Sequence[Any] = (CPU,)) -> None:
    """
    Write an optimised graph, and beside it its weights as kernels read them.

    Such weights are mapped into memory when the graph is opened, and not copied.

    :param weights: folder of the files that the graph names.
    :param target: file to write; the weights go to ``target`` with ``.data`` behind.
    :param prepacked: write weights also as kernels read them, or they make copies in memory.
        Compare the logits of the result with those of the original: see :func:`align`.
    :param providers: for which it is optimised, as a session takes them.
    :raises Exception: what ONNX Runtime raises, when it cannot open the graph or write.
    """
    _save(graph, weights, target, reuse, prepacked, list(providers))
    if prepacked and Path(f'{target}.data').exists():
        align(target)


def _save(graph: Graph, weights: Path, target: Path, reuse: bool, prepacked: bool,
          providers: list[Any]) -> None:
    content = graph.model.SerializeToString()
    options = _options(target, reuse, prepacked)
    options.add_session_config_entry(_FOLDER_OF_WEIGHTS, str(weights))
    try:
        onnxruntime.InferenceSession(content, options, providers=providers)
        return
    except Exception:  # a version without this setting, or files that are links to elsewhere
        remove([target, Path(f'{target}.data')])
    with TemporaryDirectory(dir=target.parent) as name:
        source = Path(name) / 'source.onnx'
        source.write_bytes(content)
        for file in external_files(graph):
            (Path(name) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(weights / file, Path(name) / file)
        onnxruntime.InferenceSession(str(source), _options(target, reuse, prepacked),
                                     providers=providers)


def _options(target: Path, reuse: bool, prepacked: bool) -> onnxruntime.SessionOptions:
    options = session_options(reuse=reuse)
    options.optimized_model_filepath = str(target)
    for name, value in (
            ('session.optimized_model_external_initializers_file_name', f'{target.name}.data'),
            ('session.save_external_prepacked_constant_initializers', str(int(prepacked)))):
        options.add_session_config_entry(name, value)
    return options


def align(target: Path) -> None:
    """
    Move weights in the file of an optimised graph to where kernels can read them.

    Some of them begin with space up to an address that the kernel likes. ONNX Runtime (1.31)
    aligns only those above 1 MiB in the file, and computes with garbage where others are mapped.
    """
    graph = load(target)
    kept = [(e, m) for t in tensors(graph.proto) if is_external(t)
            for e, m in _places(t)]
    if all(start % _NEEDED == 0 for _, (start, _) in kept):
        return
    old, new = Path(f'{target}.data'), Path(f'{target}.aligned')
    moved: dict[tuple[int, int], int] = {}
    with old.open('rb') as source, new.open('wb') as stream:
        for _, (start, size) in kept:
            if (start, size) not in moved:
                stream.seek(-stream.tell() % _ALIGNED, 1)
                moved[start, size] = stream.tell()
                source.seek(start)
                copy_bytes(source, stream, size)
    for entry in {id(e): e for e, _ in kept}.values():
        if entry.key == 'offset':
            start, size = next(place for e, place in kept if e is entry)
            entry.value = str(moved[start, size])
        else:
            entry.value = _BLOB.sub(
                lambda m: f'|{moved[int(m[1]), int(m[2])]};{m[2]};', entry.value)
    new.replace(old)
    target.write_bytes(graph.model.SerializeToString())


def _places(tensor: Any) -> Iterator[tuple[Any, tuple[int, int]]]:
    """Yield the entries of a weight that name a place in its file, with start and size."""
    _, start, size = location(tensor)
    for entry in tensor.external_data:
        if entry.key == 'offset':
            yield entry, (start, size)
        elif entry.key.startswith('prepacked'):
            for match in _BLOB.finditer(entry.value):
                yield entry, (int(match[1]), int(match[2]))


def remove(files: Iterable[Path]) -> None:
    """Remove files that may not be there."""
    for file in files:
        file.unlink(missing_ok=True)
