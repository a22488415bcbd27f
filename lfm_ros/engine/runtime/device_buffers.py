# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Buffers in the memory of a device, and the small graphs that move and rotate their rows."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lfm_ros.engine.runtime.buffers import Buffer
from lfm_ros.engine.runtime.buffers import CosSin
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.cuda_driver import free_bytes
from lfm_ros.engine.runtime.ort_errors import DeviceLostError
from lfm_ros.engine.runtime.ort_errors import run_error
from lfm_ros.engine.runtime.ort_runs import run_options
from lfm_ros.engine.runtime.ort_runs import SHRINK
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import onnxruntime

_GRAPHS = Path(__file__).with_name('row_graphs')  # made by tools/make_row_graphs.py
_FATAL_ONLY = 4


class DeviceMemory(HostMemory):
    """
    The memory of a device, which only graphs that run there can read and write.

    :param kind: of the device, as ONNX Runtime names it: ``cuda``. With ``cpu`` all is done in
        the memory of the host, in the same way.
    :param number: of the device.
    :param providers: that run graphs on it, with their options.
    :param separate: whether it has memory of its own, as no Jetson has.
    :ivar lost: why the device does no more work; None: it does.
    """

    on_device = True
    # Other addresses end captured graphs, so buffers grow in larger steps than on the host.
    block = 1024

    def __init__(self, kind: str, number: int, providers: Sequence[Any],
                 separate: bool = True) -> None:
        self.kind, self.number = kind, number
        self.separate = separate
        self.lost: DeviceLostError | None = None
        self._providers = list(providers)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._indices: tuple[tuple[int, ...], onnxruntime.OrtValue] | None = None

    def buffer(self, shape: Sequence[int], dtype: Any) -> Buffer:
        """Return a buffer of zeros."""
        return DeviceBuffer(self, shape, dtype)

    def free_bytes(self) -> int | None:
        """Return how much of it is free; None: unknown."""
        return free_bytes(self.number) if self.kind == 'cuda' else None

    def allocate(self, shape: Sequence[int], options: Any = None) -> Any:
        """
        Return an OrtValue of bytes on the device, all 0.

        It is made by a graph, as that has an arena with the options of the provider, which gives
        memory back; OrtValues that Python makes share another one, which does not.

        :param options: of the run that makes it.
        """
        with self.explained():
            binding = self._session('zero').io_binding()
            binding.bind_cpu_input('shape', np.array(shape, np.int64))
            binding.bind_output('result', self.kind, self.number)
            self._session('zero').run_with_iobinding(binding, options)
            return binding.get_outputs()[0]

    def give_back(self) -> None:
        """Give memory of buffers that are gone back to the device, for others to find."""
        options = run_options()
        place = 'cpu' if self.kind == 'cpu' else 'gpu'
        options.add_run_config_entry(SHRINK, f'{place}:{self.number}')
        self.allocate((1, 1, 1, 1), options)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Make errors of ONNX Runtime those of this package."""
        try:
            yield
        except LfmError:
            raise
        except Exception as error:  # one class for every status
            found = run_error(error, 'memory of the device')
            if isinstance(found, DeviceLostError):
                self.lost = found
            raise found from error

    def run(self, name: str, tensors: dict[str, tuple[Any, tuple[int, ...], int]],
            arrays: dict[str, np.ndarray], result: tuple[Any, tuple[int, ...], int] | None,
            values: dict[str, Any] | None = None) -> np.ndarray | None:
        """
        Run one of the small graphs.

        :param tensors: inputs on the device, by name: type, shape and address.
        :param arrays: inputs in the memory of the host.
        :param result: where the result goes; None: it is returned.
        :param values: inputs that are OrtValues.
        """
        with self.explained():
            session = self._session(name)
            binding = session.io_binding()
            for key, tensor in tensors.items():
                binding.bind_input(key, self.kind, self.number, *tensor)
            for key, array in arrays.items():
                binding.bind_cpu_input(key, array)
            for key, value in (values or {}).items():
                binding.bind_ortvalue_input(key, value)
            if result is None:
                binding.bind_output('result', 'cpu')
            else:
                binding.bind_output('result', self.kind, self.number, *result)
            session.run_with_iobinding(binding)
            found: np.ndarray | None = None
            if result is None:
                found = binding.get_outputs()[0].numpy()
            return found

    def indices(self, heads: int, start: int, count: int) -> Any:
        """Return where rows go, int64 ``[1, heads, count, 3]``, as an OrtValue on the device."""
        key = heads, start, count
        if self._indices is None or self._indices[0] != key:  # one serves all layers
            found = np.zeros((1, heads, count, 3), np.int64)
            found[..., 1] = np.arange(heads)[:, None]
            found[..., 2] = start + np.arange(count)
            self._indices = key, onnxruntime.OrtValue.ortvalue_from_numpy(
                found, self.kind, self.number)
        return self._indices[1]

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        if name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = _FATAL_ONLY
            options.intra_op_num_threads = 1
            options.enable_mem_pattern = False
            session = onnxruntime.InferenceSession(
                str(_GRAPHS / f'{name}.onnx'), options, providers=self._providers,
                enable_fallback=False)
            wanted = self._providers[0]
            wanted = wanted if isinstance(wanted, str) else wanted[0]
            if session.get_providers()[0] != wanted:
                raise LfmError(ErrorCode.PROVIDER_UNAVAILABLE, f'ONNX Runtime could not load '
                               f'{wanted} to move numbers on the device: install the driver and '
                               'the libraries that this build of it was made for')
            self._sessions[name] = session
        return self._sessions[name]


class DeviceBuffer(Buffer):
    """A tensor in the memory of a device; rows that are read are copies."""

    def __init__(self, memory: DeviceMemory, shape: Sequence[int], dtype: Any) -> None:
        self._memory = memory
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        # One without numbers, too, has an address.
        self._value = memory.allocate([max(n, 1) for n in self._byte_shape])
        self._offset = 0  # bytes in the value

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the tensor."""
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        """Return the type of its numbers."""
        return self._dtype

    def part(self, index: int) -> Buffer:
        """Return one index of the first axis as a buffer ``[1, ...]`` in the same memory."""
        other = DeviceBuffer.__new__(DeviceBuffer)
        other._memory, other._value, other._dtype = self._memory, self._value, self._dtype
        other._shape = 1, *self._shape[1:]
        other._offset = self._offset + index * other.nbytes
        return other

    def without_first_axis(self) -> Buffer:
        """Return the same memory as a buffer of one axis less, where the first one is 1."""
        other = self.part(0)
        assert isinstance(other, DeviceBuffer)
        other._shape = self._shape[1:]
        return other

    def like(self, rows: int) -> Buffer:
        """Return a buffer of zeros on the same device, with another number of rows."""
        return DeviceBuffer(self._memory, (*self.shape[:2], rows, *self.shape[3:]), self.dtype)

    def read(self, start: int = 0, end: int | None = None) -> np.ndarray:
        """Return a copy of rows, which cannot be written to."""
        end = self.rows if end is None else min(end, self.rows)
        shape = (*self.shape[:2], max(0, end - start), *self.shape[3:])
        rows = np.zeros(shape, self.dtype)
        if rows.size:
            found = self._memory.run('read', {'source': self._bytes}, bounds(start, end), None)
            assert found is not None
            rows = found.view(self.dtype).reshape(shape)
        rows.flags.writeable = False
        return rows

    def numpy(self) -> np.ndarray:
        """Return a copy of all numbers; of a tensor of any shape, which is no part."""
        found: np.ndarray = self._value.numpy().view(self.dtype).reshape(self.shape)
        return found

    def write(self, start: int, rows: np.ndarray) -> None:
        """Write rows from one on."""
        if 0 in rows.shape:
            return
        rows = np.ascontiguousarray(rows, self.dtype)
        view = rows.view(np.uint8).reshape(*rows.shape[:3], -1)
        self._memory.run('write', {'target': self._bytes}, {'rows': view}, self._bytes,
                         {'indices': self._indices(start, rows.shape[2])})

    def set(self, values: np.ndarray) -> None:
        """Write all numbers; of a tensor of any shape."""
        if 0 not in self.shape:
            numbers = np.ascontiguousarray(values, self.dtype)
            with self._memory.explained():
                self._value.update_inplace(
                    numbers.reshape(-1).view(np.uint8).reshape(self._byte_shape))

    def copy_rows(self, start: int, source: Buffer, first: int, count: int) -> None:
        """Write rows from one on that are read from another buffer on the same device."""
        assert isinstance(source, DeviceBuffer)
        if not count or 0 in self.shape:
            return
        cut = bounds(first, first + count)
        if count == self.rows:
            self._memory.run('read', {'source': source._bytes}, cut, self._bytes)
        else:
            self._memory.run('copy', {'target': self._bytes, 'source': source._bytes}, cut,
                             self._bytes, {'indices': self._indices(start, count)})

    def copy_parts(self, source: Buffer, indices: Sequence[int]) -> None:
        """Copy some indices of the second axis from a buffer of the same shape and device."""
        assert isinstance(source, DeviceBuffer)
        kind, shape, address = self._bytes
        first, second = shape[:2]
        view = first, second, int(np.prod(shape[2:])), 1
        chosen = np.zeros((1, second, 1, 1), np.bool_)
        chosen[:, list(indices)] = True
        self._memory.run('choose', {
            'target': (kind, view, address), 'source': (kind, view, source._address)},
            {'chosen': chosen}, (kind, view, address))

    def _rotate_rows(self, start: int, first: int, count: int, cos_sin: CosSin) -> None:
        here = self.dtype, self.shape, self._address
        cos, sin = (np.ascontiguousarray(table, np.float32) for table in cos_sin)
        self._memory.run(f'rotate_{self.dtype}', {'target': here},
                         {**bounds(first, first + count), 'cos': cos, 'sin': sin}, here,
                         {'indices': self._indices(start, count)})

    def _indices(self, start: int, count: int) -> Any:
        return self._memory.indices(self.shape[1], start, count)

    @property
    def _bytes(self) -> tuple[Any, tuple[int, ...], int]:
        """Return its memory as bytes: type, shape with four axes, and address."""
        return np.uint8, self._byte_shape, self._address

    @property
    def _byte_shape(self) -> tuple[int, ...]:
        shape = (*self.shape, 1, 1, 1, 1)
        return (*shape[:3], int(np.prod(shape[3:])) * self.dtype.itemsize)

    @property
    def _place(self) -> tuple[str, int]:
        return self._memory.kind, self._memory.number

    @property
    def _address(self) -> int:
        return int(self._value.data_ptr()) + self._offset


def bounds(start: int, end: int) -> dict[str, np.ndarray]:
    """Return the inputs that name rows."""
    return {'start': np.array([start], np.int64), 'end': np.array([end], np.int64)}
