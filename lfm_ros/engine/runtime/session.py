# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open an ONNX Runtime session and explain its errors."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from functools import cache
import os
from pathlib import Path
import platform
import re

from lfm_ros.cpu import ARM
from lfm_ros.cpu import usable_threads
from lfm_ros.engine.files.graph_check import check_graph
from lfm_ros.engine.files.model_file import is_lfs_pointer
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import open_on
from lfm_ros.engine.runtime.execution_provider import require
from lfm_ros.engine.runtime.ort_errors import ran_out_of_memory
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
import onnxruntime

_FATAL_ONLY = 4
# Of ONNX Runtime as a whole. Its warnings (a GPU that no plugin serves, indices that may come
# twice) ask nothing of a user.
onnxruntime.set_default_logger_severity(_FATAL_ONLY)

# Flash attention on ARM takes rows in groups of four, counted from the beginning of the context: a
# row changes in its last bits with the rows behind it in its group (ONNX Runtime 1.31). Without it
# every row is the same whatever else is in the run. Kernels read this when a graph is opened.
EXACT_ATTENTION = 'ORT_GQA_DISABLE_FLASH_ATTENTION'
if platform.machine() in ARM:
    os.environ.setdefault(EXACT_ATTENTION, '1')


def open_session(graph: Path, providers: Sequence[str] = (CPU,),
                 threads: int = 0, reuse: bool = True, arena: bool = True,
                 prepacked: bool = False, spinning: bool = True,
                 provider_options: Mapping[str, str] | None = None, capture: bool = False,
                 cores: Sequence[int] = ()) -> onnxruntime.InferenceSession:
    """
    Open a graph.

    :param providers: ONNX Runtime execution providers, the preferred one first.
    :param threads: threads inside one operator; 0 leaves it to ONNX Runtime (one per core).
    :param reuse: let operators share memory within a run, by the sizes that the graph declares.
    :param arena: keep the memory of a run for the next one.
    :param prepacked: the graph was optimised for this very machine and is run as it is.
    :param spinning: let idle threads spin (busy-wait): faster, and a load of one core per thread
        for a short while after each operator.
    :param provider_options: of the preferred provider, as ONNX Runtime names them.
    :param capture: let a GPU capture runs and replay them.
    :param cores: processors on which its threads run, one on each; empty: any.
    :raises LfmError: PROVIDER_UNAVAILABLE also when the preferred provider is not the one that
        runs; others when the graph cannot be opened.
    """
    require(providers, provider_options)
    check_graph(graph)
    options = session_options(threads, reuse, arena, spinning, cores)
    if prepacked:
        # Optimising it again would be slow, and fold constants into memory of its own.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = open_on(str(graph), options, providers, provider_options or {}, capture)
    except Exception as error:  # ONNX Runtime raises a different class for every status
        raise _explain(graph, str(error), providers[0]) from error
    _check_names(graph, session)
    # When the library of CUDA does not load, ONNX Runtime goes on with what is left.
    if session.get_providers()[0] != providers[0]:
        raise LfmError(ErrorCode.PROVIDER_UNAVAILABLE, f'ONNX Runtime could not load '
                       f'{providers[0]} and took {session.get_providers()[0]} instead: install '
                       'the driver and the libraries that this build of it was made for')
    return session


def session_options(threads: int = 0, reuse: bool = True, arena: bool = True,
                    spinning: bool = True, cores: Sequence[int] = ()
                    ) -> onnxruntime.SessionOptions:
    """Return the options with which every graph is opened; see :func:`open_session`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY  # errors are raised and logged once, by us
    options.intra_op_num_threads = threads or len(cores) or usable_threads()
    if len(cores) > 1 and threads in (0, len(cores)):
        # The first thread is the one that makes the run; they are counted from 1.
        options.add_session_config_entry('session.intra_op_thread_affinities',
                                         ';'.join(str(core + 1) for core in cores[1:]))
    # Every prompt has another length; patterns kept for each of them only grow the process
    # (onnxruntime #11118, #15087, #21916).
    options.enable_mem_pattern = False
    options.enable_mem_reuse = reuse
    options.enable_cpu_mem_arena = arena
    if arena:
        _make_arena()
        options.add_session_config_entry('session.use_env_allocators', '1')
    # Some published weights hold only subnormal scales (Liquid4All/onnx-export).
    options.add_session_config_entry('session.set_denormal_as_zero', '1')
    if not spinning:
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return options


@cache
def _make_arena() -> None:
    """
    Make the one arena of the process.

    The graphs of a model are never run at once, so they need no memory each; and a run of any of
    them can give back what is left of all.
    """
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo('Cpu', onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0,
                                  onnxruntime.OrtMemType.DEFAULT), None)


def _check_names(graph: Path, session: onnxruntime.InferenceSession) -> None:
    """Refuse names that cannot be read: asking for them raises an error, at every place."""
    try:
        for item in (*session.get_inputs(), *session.get_outputs()):
            _ = item.name, item.type, item.shape
    except UnicodeDecodeError as error:
        raise LfmError(ErrorCode.MODEL_DAMAGED, f'{graph} has an input or output whose name is '
                       'not UTF-8: copy it again or export it anew') from error


def _explain(graph: Path, text: str, provider: str) -> LfmError:
    """Return the error that explains one of ONNX Runtime (texts of 1.23 to 1.31)."""
    short = quote(text)
    if ran_out_of_memory(text):
        return _too_large(graph, short)
    if re.search(r'cannot use the (graph capture|CUDA graph)', text, re.IGNORECASE):
        return LfmError(ErrorCode.UNSUPPORTED, f'runs of {graph} cannot be captured ({short}): '
                        'open it without')
    if provider != CPU and re.search(r'load library|shared object|driver|CUDA|CUDNN|CUBLAS|'
                                     r'TensorRT|device', text, re.IGNORECASE):
        short = re.sub(r'^/\S+\.cc:\d+ .*?\) ', '', short)  # where in its source it happened
        return LfmError(ErrorCode.PROVIDER_UNAVAILABLE, f'{provider} cannot be used ({short}): '
                        'install the driver and the libraries that this build of ONNX Runtime '
                        'was made for')
    external = re.search(r'external|initializer|\.onnx[._]data', text, re.IGNORECASE)
    data = sorted(p for p in graph.parent.iterdir()
                  if p.name.startswith(graph.name) and p != graph)
    for path in data:
        if is_lfs_pointer(path):
            return LfmError(ErrorCode.WEIGHTS_MISSING, f'{path} is a Git LFS pointer, not the '
                            "weights: run 'git lfs pull' in its repository")
    if external and re.search(r'out of bounds|in full|file size|exceed|beyond', text):
        return LfmError(ErrorCode.WEIGHTS_MISSING, f'the weights beside {graph} are shorter than '
                        f'the graph says, the copy was cut: copy them again ({short})')
    if external and re.search(r'does not exist|cannot get|No such file|failed to open|not exist',
                              text, re.IGNORECASE):
        return LfmError(ErrorCode.WEIGHTS_MISSING, f'a file of weights that {graph.name} refers '
                        f'to is not in {graph.parent}: copy all files of the model ({short})')
    if re.search(r'not a registered function|No Op registered|No opset import|'
                 r'Unrecognized attribute|could not find an implementation|NOT_IMPLEMENTED|'
                 r'opset .* is under development|Unsupported model IR', text, re.IGNORECASE):
        return LfmError(ErrorCode.RUNTIME_TOO_OLD, f'ONNX Runtime {onnxruntime.__version__} '
                        f'cannot run an operator of {graph}: install a newer one ({short})')
    if re.search(r'protobuf|INVALID_PROTOBUF|ModelProto|No graph was found', text, re.IGNORECASE):
        return LfmError(ErrorCode.MODEL_DAMAGED, f'{graph} is truncated or not an ONNX file: '
                        f'copy it again ({short})')
    if re.search(r'bad_alloc|allocate|memory', text, re.IGNORECASE):
        return _too_large(graph, short)
    return LfmError(ErrorCode.MODEL_DAMAGED, f'ONNX Runtime cannot open {graph} ({short}): '
                    'copy it again or export it anew')


def _too_large(graph: Path, short: str) -> LfmError:
    return LfmError(ErrorCode.OUT_OF_MEMORY, f'there is not enough memory for {graph}: use a '
                    f'smaller variant ({short})')


def runtime_version() -> tuple[int, int]:
    """Return the installed version of ONNX Runtime."""
    major, minor = onnxruntime.__version__.split('.')[:2]
    return int(major), int(minor)
