# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A GPU for a machine without one: the CPU does its work, and it fails as CUDA does on command."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from lfm_ros.engine.runtime import execution_provider
import onnxruntime

CUDA, TENSORRT, CPU = 'CUDAExecutionProvider', 'TensorrtExecutionProvider', 'CPUExecutionProvider'
NO_MEMORY = ('CUDA failure 2: out of memory ; GPU=0 ; hostname=robot ; '
             'file=cuda_allocator.cc ; line=70 ; expr=cudaMalloc((void**)&p, size);')
NO_KERNEL = ('Non-zero status code returned while running MatMulNBits node. CUDA error '
             'cudaErrorNoKernelImageForDevice: no kernel image is available')
NO_CPU_KERNEL = ('Non-zero status code returned while running GroupQueryAttention node. Status '
                 'Message: GroupQueryAttention (CPU): q_norm_weight / k_norm_weight inputs are '
                 'not supported.')
LOST = ('CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=robot ; '
        'file=cuda_call.cc ; line=129 ; expr=cudaStreamSynchronize(stream_)')
NO_LIBRARY = ('Failed to load library libonnxruntime_providers_cuda.so with error: '
              'libcublasLt.so.12: cannot open shared object file: No such file or directory')
# Faults, and what is said of them.
FAULTS = {'silent': 'could not load CUDAExecutionProvider', 'library': 'libcublasLt.so.12',
          'weights': 'not enough memory', 'kernel': 'no kernel image'}


class Gpu:
    """
    What ONNX Runtime has beside the CPU.

    :param fault: of CUDA. ``silent``: its library does not load and nobody says so; ``library``:
        that is raised; ``weights``: they find no memory; ``kernel``: no graph runs; empty: none.
    :param providers: that this build of ONNX Runtime has.
    :ivar memory_for: how many calls on it find memory from now on; negative: all.
    :ivar lives_for: how many calls on it succeed from now on, before all fail for good;
        negative: all do.
    :ivar cpu_runs: whether the CPU can run graphs, too.
    :ivar graph: opened there instead of any other; empty: none.
    :ivar calls: made on it.
    :ivar opened: the providers of every session that was asked for, those that move rows left
        out; ``options``: those of a provider that were given with them.
    """

    def __init__(self, fault: str = '', providers: Sequence[str] = (CUDA, CPU)) -> None:
        self.fault = fault
        self.providers = list(providers)
        self.memory_for = -1
        self.lives_for = -1
        self.cpu_runs = True
        self.graph = ''
        self.calls = 0
        self.opened: list[list[str]] = []
        self.options: list[Any] = []

    def install(self, replace: Callable[[Any, str, Any], None]) -> None:
        """Give it to ONNX Runtime; ``replace`` is that of pytest or setattr."""
        gpu = self

        class Session(onnxruntime.InferenceSession):
            """A session that may be on the GPU."""

            def __init__(self, path: Any, options: Any, providers: Sequence[Any] = (CPU,),
                         **more: Any) -> None:
                names = [p if isinstance(p, str) else p[0] for p in providers]
                self.own = [p for p in names if p != CPU]
                self.on_gpu = CUDA in names
                self.moves_rows = 'row_graphs' in str(path)
                if not self.moves_rows:
                    gpu.opened.append(names)
                    gpu.options += [dict(p[1]) for p in providers if not isinstance(p, str)]
                if self.on_gpu and gpu.fault in ('library', 'weights'):
                    raise RuntimeError(NO_LIBRARY if gpu.fault == 'library' else NO_MEMORY)
                if gpu.fault == 'silent':
                    self.own, self.on_gpu = [], False
                graph = gpu.graph if self.on_gpu and not self.moves_rows else ''
                super().__init__(graph or path, options, providers=[CPU], **more)

            def get_providers(self) -> list[str]:
                return [*self.own, CPU]

            def run(self, *arguments: Any, **more: Any) -> Any:
                self.check_kernels()
                return super().run(*arguments, **more)

            def check_kernels(self) -> None:
                if not (self.own or gpu.cpu_runs or self.moves_rows):
                    raise RuntimeError(NO_CPU_KERNEL)

            def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
                self.check_kernels()
                if self.on_gpu:
                    gpu.take_call(self.moves_rows)
                super().run_with_iobinding(binding, options)

        replace(onnxruntime, 'InferenceSession', Session)
        replace(onnxruntime, 'get_available_providers', lambda: self.providers)
        replace(execution_provider, 'DEVICES', {CUDA: 'cpu'})

    def take_call(self, moves_rows: bool = False) -> None:
        """Take a call, or raise what it raises on this GPU; only those of models count."""
        if self.lives_for == 0:
            raise RuntimeError(LOST)
        if moves_rows:
            return
        self.lives_for -= 1
        self.calls += 1
        if self.fault == 'kernel':
            raise RuntimeError(NO_KERNEL)
        if self.memory_for == 0:
            raise RuntimeError(NO_MEMORY)
        self.memory_for -= 1
