# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the numbers of a state live: the only place that knows, and that writes them."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np


class Buffer:
    """
    A tensor in the memory of the host, which graphs read and write by its address.

    Rows are its third axis: tokens of keys and values ``[1, heads, rows, head_dim]``, columns of
    a convolution ``[1, hidden, columns]``.

    :param shape: of the tensor; it is filled with zeros.
    """

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self._array = np.zeros(shape, dtype)

    @classmethod
    def of(cls, array: np.ndarray) -> Buffer:
        """Return a buffer with a copy of an array."""
        buffer = cls.__new__(cls)
        buffer._array = np.array(array, order='C')
        return buffer

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
        rows: int = self._array.shape[2]
        return rows

    @property
    def nbytes(self) -> int:
        """Return its memory in bytes."""
        return self._array.nbytes

    def bind_input(self, binding: Any, name: str) -> None:
        """Let a graph read it as an input; it must outlive the binding."""
        binding.bind_input(name, 'cpu', 0, self.dtype, self.shape, self._array.ctypes.data)

    def bind_output(self, binding: Any, name: str) -> None:
        """Let a graph write it as an output likewise."""
        binding.bind_output(name, 'cpu', 0, self.dtype, self.shape, self._array.ctypes.data)

    def read(self, start: int = 0, end: int | None = None) -> np.ndarray:
        """
        Return rows.

        In the memory of the host they are a view, which later writes change and through which
        nothing can be written.
        """
        view = self._array[:, :, start:end]
        view.flags.writeable = False
        return view

    def write(self, start: int, rows: np.ndarray) -> None:
        """Write rows from one on."""
        self._array[:, :, start:start + rows.shape[2]] = rows

    def fill(self, value: float) -> None:
        """Write one number everywhere."""
        self._array.fill(value)

    def wipe(self, start: int) -> None:
        """Write 0 into all rows from one on."""
        self._array[:, :, start:] = 0

    def copy_rows(self, start: int, source: Buffer, first: int, count: int) -> None:
        """Write rows from one on that are read from another buffer."""
        self._array[:, :, start:start + count] = source._array[:, :, first:first + count]

    def copy(self) -> Buffer:
        """Return a buffer with the same numbers."""
        return Buffer.of(self._array)

    def resized(self, rows: int, kept: int) -> Buffer:
        """Return a buffer with another number of rows, the first ``kept`` of them as here."""
        other = Buffer((*self.shape[:2], rows, *self.shape[3:]), self.dtype)
        other.copy_rows(0, self, 0, kept)
        return other

    def shift(self, start: int, end: int, by: int, step: int,
              change: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        """
        Write the rows behind ``start + by`` to ``start`` on, up to ``end``.

        :param step: rows at a time: there may be no memory for a copy of all.
        :param change: what they become; None: as they are.
        """
        for low in range(start, end, step):
            high = min(low + step, end)
            later = self._array[:, :, low + by:high + by]
            self._array[:, :, low:high] = change(later) if change else later
