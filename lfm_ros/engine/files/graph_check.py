# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Refuse a graph that ONNX Runtime should not be given, and find the files of its weights."""
from __future__ import annotations

from functools import lru_cache
import os
from pathlib import Path
from pathlib import PurePath

from lfm_ros.engine.files.model_file import is_lfs_pointer
from lfm_ros.engine.files.model_file import open_regular
from lfm_ros.engine.files.onnx_wire import ExternalData
from lfm_ros.engine.files.onnx_wire import Function
from lfm_ros.engine.files.onnx_wire import MAX_NODES
from lfm_ros.engine.files.onnx_wire import Outline
from lfm_ros.engine.files.onnx_wire import read_outline
from lfm_ros.engine.files.onnx_wire import WireError
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote

# Graphs inside of each other: ONNX Runtime 1.23 takes twice as long for every one more. Exports
# have two, for rotary embeddings of two kinds.
MAX_GRAPH_DEPTH = 8
# Sparse tensors: ONNX Runtime 1.23 ends with SIGSEGV when an index is out of bounds.
# Functions that call each other: ONNX Runtime ends with SIGSEGV at some thousands (1.31), and when
# one calls itself (1.23). Exports have none, or one around an operator.
MAX_FUNCTION_DEPTH = 16
MAX_ELEMENTS = 1 << 40
# The name by which ONNX Runtime refers to weights that are in its memory already.
_IN_MEMORY = '_ORT_MEM_ADDR_'


def check_graph(graph: Path) -> list[Path]:
    """
    Look through a graph before it is opened.

    :returns: the files beside it that hold its weights, which are there and long enough.
    :raises LfmError: MODEL_NOT_FOUND, MODEL_DAMAGED, MODEL_FOREIGN, WEIGHTS_MISSING.
    """
    outline = _outline(graph)
    if outline.elements < 0 or outline.elements > MAX_ELEMENTS:
        raise LfmError(ErrorCode.MODEL_DAMAGED, f'{graph} contains a tensor of an invalid size: '
                       'copy it again or export it anew')
    if outline.depth > MAX_GRAPH_DEPTH:
        raise _too_much(graph, f'has {outline.depth} graphs inside of each other')
    if outline.sparse:
        raise _too_much(graph, 'has sparse tensors')
    if _expanded(outline.functions) > MAX_NODES:
        raise _too_much(graph, 'has functions that call each other without end')
    return _check_external(graph, outline.external)


def external_files(graph: Path) -> list[Path]:
    """
    Return the files of weights beside a graph, as far as they are there.

    :raises LfmError: as :func:`check_graph`, but not for files that are missing or too short.
    """
    names = {name for data in _outline(graph).external
             for name in data.entries.get('location', ())}
    found = [_inside(graph, name) for name in sorted(names)]
    return [path for path in found if os.path.isfile(path)]


def check_inside(name: str, root: Path) -> None:
    """
    Refuse a name that leads out of the folder of a model.

    :raises LfmError: MODEL_FOREIGN.
    """
    path = PurePath(name)
    if path.is_absolute() or '..' in path.parts or '\0' in name or _IN_MEMORY in name:
        raise _outside(name, root)


def _outline(graph: Path) -> Outline:
    try:
        status = graph.stat()
        if is_lfs_pointer(graph):
            raise LfmError(ErrorCode.MODEL_DAMAGED, f'{graph} is a Git LFS pointer, not the '
                           "model: run 'git lfs pull' in its repository")
        found = _read(graph, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f'{graph} cannot be read '
                       f'({error.strerror}): check its permissions') from error
    except ValueError as error:
        raise LfmError(ErrorCode.MODEL_DAMAGED, f'{graph} cannot be opened, {error}: copy the '
                       'model again') from error
    if isinstance(found, str):
        raise LfmError(ErrorCode.MODEL_DAMAGED, f'{graph} is truncated or not an ONNX file: '
                       f'copy it again ({found})')
    return found


@lru_cache(maxsize=8)
def _read(graph: Path, *identity: int) -> Outline | str:
    """Return what is in a file, or what is wrong with it, once for each state of it."""
    with open_regular(graph) as stream:
        size = os.fstat(stream.fileno()).st_size
        if not size:
            raise ValueError('it is empty')
        try:
            return read_outline(stream, size)
        except WireError as error:
            return str(error)


def _check_external(graph: Path, external: list[ExternalData]) -> list[Path]:
    """Check where weights lie, and the sizes of their files; return the files, each once."""
    ends: dict[str, int] = {}
    for data in external:
        for name in data.entries.get('location', ()):
            check_inside(name, graph.parent)
        if data.used:
            name = data.entries.get('location', [''])[-1]
            ends[name] = max(ends.get(name, 0), _end(graph, data))
    return [_check_file(graph, name, ends[name]) for name in sorted(ends)]


def _end(graph: Path, data: ExternalData) -> int:
    offset, length = (data.entries.get(key, ['0'])[-1] for key in ('offset', 'length'))
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in (offset, length)):
        raise LfmError(ErrorCode.MODEL_DAMAGED, f'{graph} does not say where its weights lie '
                       f'({quote(offset)}, {quote(length)}): copy it again or export it anew')
    return int(offset) + int(length)


def _check_file(graph: Path, name: str, end: int) -> Path:
    path = _inside(graph, name)
    if not name or not os.path.exists(path):
        raise LfmError(ErrorCode.WEIGHTS_MISSING, f'the file of weights {name} that {graph.name} '
                       f'refers to is not in {graph.parent}: copy all files of the model')
    if not os.path.isfile(path):
        raise LfmError(ErrorCode.MODEL_DAMAGED, f'the weights {path} of {graph.name} are not a '
                       'regular file: copy all files of the model')
    if is_lfs_pointer(path):
        raise LfmError(ErrorCode.WEIGHTS_MISSING, f'{path} is a Git LFS pointer, not the '
                       "weights: run 'git lfs pull' in its repository")
    if path.stat().st_size < end:
        raise LfmError(ErrorCode.WEIGHTS_MISSING, f'the weights {path} are shorter than '
                       f'{graph.name} says, the copy was cut: copy them again')
    return path


def _inside(graph: Path, name: str) -> Path:
    """
    Return the path of a file beside a graph.

    A link may lead to where the graph itself lies, as in the cache of a hub, whose snapshots are
    links to one folder; nowhere else, as in ONNX Runtime 1.31.
    """
    check_inside(name, graph.parent)
    path = graph.parent / name
    try:
        real = path.resolve()
        if not (real.is_relative_to(graph.parent.resolve())
                or real.is_relative_to(graph.resolve().parent)):
            raise _outside(name, graph.parent)
    except (RuntimeError, OSError, ValueError) as error:  # links in a circle, odd names
        raise LfmError(ErrorCode.WEIGHTS_MISSING, f'{path} cannot be found ({quote(error)}): '
                       'copy all files of the model') from error
    return path


def _outside(name: str, root: Path) -> LfmError:
    return LfmError(ErrorCode.MODEL_FOREIGN, f'the model in {root} refers to {quote(name)!r} '
                    'outside of its folder: copy the file into it, or take the model from a '
                    'source you trust')


def _expanded(functions: list[Function]) -> int:
    """Return how many nodes there are when functions stand in place of their calls."""
    known = {(f.domain, f.name): f for f in functions[1:]}
    found: dict[int, tuple[int, int]] = {}

    def measure(function: Function, depth: int) -> tuple[int, int]:
        """Return nodes, and the longest chain of calls."""
        if id(function) not in found:
            nodes, height = function.nodes, 0
            for name, count in function.calls.items():
                if name in known:
                    inner = measure(known[name], depth + 1) if depth < MAX_FUNCTION_DEPTH else \
                        (MAX_NODES, MAX_FUNCTION_DEPTH)
                    nodes, height = nodes + count * inner[0], max(height, 1 + inner[1])
            found[id(function)] = (nodes if height <= MAX_FUNCTION_DEPTH else MAX_NODES + 1,
                                   height)
        return found[id(function)]

    return max(measure(function, 0)[0] for function in functions) if known else functions[0].nodes


def _too_much(graph: Path, what: str) -> LfmError:
    return LfmError(ErrorCode.MODEL_FOREIGN, f'{graph} {what}, which no export has: take the '
                    'model from a source you trust')
