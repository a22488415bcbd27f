# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the numbers of a state live: the only place that knows, and that writes them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfm_ros.errors import LfmError
import numpy as np

# The cosines and sines ``[half]`` float32 by which keys are rotated.
CosSin = tuple[np.ndarray, np.ndarray]


def rotate(keys: np.ndarray, cos_sin: CosSin) -> np.ndarray:
    """
    Return rotated keys, number i of a head together with i + half (NeoX).

    Every row is computed for itself: the result does not depend on which are given together.

    :param keys: float ``[1, heads, rows, head_dim]``; computed in float32.
    """
    cos, sin = cos_sin
    half = len(cos)
    low = keys[..., :half].astype(np.float32)
    high = keys[..., half:2 * half].astype(np.float32)
    rotated = keys.copy()
    rotated[..., :half] = low * cos - high * sin
    rotated[..., half:2 * half] = high * cos + low * sin
    return rotated


class Buffer:
    """
    A tensor in the memory of the host, which graphs read and write by its address.

    Rows are its third axis: tokens of keys and values ``[1, heads, rows, head_dim]``, columns of
    a convolution ``[1, hidden, columns]``.

    :param shape: of the tensor; it is filled with zeros.
    """

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self._array = np.zeros(shape, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the tensor."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        """Return the type of its numbers."""
        return self._array.dtype

    @property
    def rows(self) -> int:
        """Return how many rows there is memory for."""
        return self.shape[2]

    @property
    def nbytes(self) -> int:
        """Return its memory in bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def bind_input(self, binding: Any, name: str) -> None:
        """Let a graph read it as an input; it must outlive the binding."""
        binding.bind_input(name, *self._place, self.dtype, self.shape, self._address)

    def bind_output(self, binding: Any, name: str) -> None:
        """Let a graph write it as an output likewise."""
        binding.bind_output(name, *self._place, self.dtype, self.shape, self._address)

    def part(self, index: int) -> Buffer:
        """Return one index of the first axis as a buffer ``[1, ...]`` in the same memory."""
        other = Buffer.__new__(Buffer)
        other._array = self._array[index:index + 1]
        return other

    def without_first_axis(self) -> Buffer:
        """Return the same memory as a buffer of one axis less, where the first one is 1."""
        other = Buffer.__new__(Buffer)
        other._array = self._array[0]
        return other

    def like(self, rows: int) -> Buffer:
        """Return a buffer of zeros in memory of the same kind, with another number of rows."""
        return Buffer((*self.shape[:2], rows, *self.shape[3:]), self.dtype)

    def read(self, start: int = 0, end: int | None = None) -> np.ndarray:
        """
        Return rows.

        In the memory of the host they are a view, which later writes change and through which
        nothing can be written.
        """
        view = self._array[:, :, start:end]
        view.flags.writeable = False
        return view

    def numpy(self) -> np.ndarray:
        """Return all numbers; of a tensor of any shape, which is no part of another."""
        return self._array

    def write(self, start: int, rows: np.ndarray) -> None:
        """Write rows from one on."""
        self._array[:, :, start:start + rows.shape[2]] = rows

    def set(self, values: np.ndarray) -> None:
        """Write all numbers; of a tensor of any shape."""
        self._array[...] = values

    def fill(self, value: float) -> None:
        """Write one number everywhere."""
        self.set(np.full(self.shape, value, self.dtype))

    def wipe(self, start: int) -> None:
        """Write 0 into all rows from one on."""
        if start < self.rows:
            rows = (*self.shape[:2], self.rows - start, *self.shape[3:])
            self.write(start, np.zeros(rows, self.dtype))

    def copy_rows(self, start: int, source: Buffer, first: int, count: int) -> None:
        """Write rows from one on that are read from another buffer in memory of the same kind."""
        self._array[:, :, start:start + count] = source._array[:, :, first:first + count]

    def copy_parts(self, source: Buffer, indices: Sequence[int]) -> None:
        """
        Copy some indices of the second axis from a buffer of the same shape and memory.

        :param indices: of an axis that is short.
        """
        self._array[:, list(indices)] = source._array[:, list(indices)]

    def copy(self) -> Buffer:
        """Return a buffer with the same numbers."""
        return self.resized(self.rows, self.rows)

    def resized(self, rows: int, kept: int) -> Buffer:
        """Return a buffer with another number of rows, the first ``kept`` of them as here."""
        other = self.like(rows)
        if kept:
            other.copy_rows(0, self, 0, kept)
        return other

    def to(self, memory: HostMemory, rows: int, kept: int) -> Buffer:
        """Return a buffer in other memory with so many rows, the first ``kept`` as here."""
        other = memory.buffer((*self.shape[:2], rows, *self.shape[3:]), self.dtype)
        if kept:
            other.write(0, self.read(0, kept))
        return other

    def shift(self, start: int, end: int, by: int, step: int,
              cos_sin: CosSin | None = None) -> None:
        """
        Write the rows behind ``start + by`` to ``start`` on, up to ``end``.

        :param step: rows at a time: there may be no memory for a copy of all.
        :param cos_sin: rotate them by this; None: they are moved as they are.
        """
        for low in range(start, end, step):
            high = min(low + step, end)
            if cos_sin:
                self._rotate_rows(low, low + by, high - low, cos_sin)
            else:
                self.copy_rows(low, self, low + by, high - low)

    def _rotate_rows(self, start: int, first: int, count: int, cos_sin: CosSin) -> None:
        """Write rows from one on that are rotated ones of this buffer."""
        self._array[:, :, start:start + count] = rotate(
            self._array[:, :, first:first + count], cos_sin)

    @property
    def _place(self) -> tuple[str, int]:
        """Return the kind and the number of the device, as bindings take them."""
        return 'cpu', 0

    @property
    def _address(self) -> int:
        return int(self._array.ctypes.data)


class HostMemory:
    """
    The memory of the host, where buffers of a provider live that computes there.

    :ivar on_device: whether its numbers are out of reach of the host's code.
    :ivar separate: whether what it takes is no part of the memory of the process.
    :ivar lost: why it cannot be used any more; None: it can.
    :ivar block: rows by which buffers of keys and values grow.
    """

    on_device = False
    separate = False
    lost: LfmError | None = None
    block = 256

    def buffer(self, shape: Sequence[int], dtype: Any) -> Buffer:
        """Return a buffer of zeros."""
        return Buffer(shape, dtype)

    def give_back(self) -> None:
        """Give memory of buffers that are gone back, as far as it is that of a device."""

    def free_bytes(self) -> int | None:
        """Return how much of it is free, as far as it is that of a device; None: unknown."""
        return None


HOST = HostMemory()
