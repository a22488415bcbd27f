# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Look through an ONNX file in protobuf's wire format, past its weights, before it is opened."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import BinaryIO

# The messages of onnx.proto in which graphs and tensors stand: for each, the numbers of the fields
# that hold another one of them. All others are passed over, whatever they are.
_INSIDE: dict[str, dict[int, str]] = {
    'model': {7: 'graph', 20: 'training', 25: 'function'},
    'training': {1: 'graph', 2: 'graph'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'function': {7: 'node', 11: 'attribute'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {13: 'entry'},
}
_MODEL_GRAPH = 7
_FUNCTION_NAME, _FUNCTION_DOMAIN = 1, 10
_NODE_OPERATOR, _NODE_DOMAIN = 4, 7
_TENSOR_DIMS, _TENSOR_PLACE, _ELSEWHERE = 1, 14, 1
_KEY, _VALUE = 1, 2

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # kinds of fields
_WINDOW = 64 << 10
MAX_FIELDS = 2_000_000  # of one file; 1,000 nodes and their weights have about 30,000
MAX_NODES = 100_000     # likewise, for which ONNX Runtime takes 10 s
MAX_DEPTH = 100         # messages inside of each other, as protobuf itself allows
MAX_TEXT_BYTES = 4096   # of the name of an operator or of a file, and of all sizes of a tensor


class WireError(Exception):
    """The file is not what ONNX Runtime could read; the message gives the reason."""


@dataclass
class ExternalData:
    """
    Where the numbers of a tensor are, as it declares.

    :ivar entries: all values by key, in their order; the last one of a key counts.
    :ivar used: whether the tensor declares that its numbers are there.
    """

    entries: dict[str, list[str]] = field(default_factory=dict)
    used: bool = False


@dataclass
class Function:
    """
    The nodes of the graph, or of a function of the model.

    :ivar nodes: how many there are, those of graphs inside of nodes included.
    :ivar calls: how often each operator stands there, by domain and name.
    """

    name: str = ''
    domain: str = ''
    nodes: int = 0
    calls: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class Outline:
    """
    What was found in a file.

    :ivar functions: the graph itself, without a name, and the functions of the model.
    :ivar external: of all tensors, wherever they stand.
    :ivar sparse: how many sparse tensors there are.
    :ivar depth: graphs inside of each other.
    :ivar graphs: how many there are.
    :ivar elements: the most that a tensor claims to have; -1 if a size is negative.
    """

    functions: list[Function] = field(default_factory=list)
    external: list[ExternalData] = field(default_factory=list)
    graphs: int = 0
    sparse: int = 0
    depth: int = 0
    elements: int = 0


def read_outline(stream: BinaryIO, size: int) -> Outline:
    """
    Look through a ModelProto; weights and other long fields are not read.

    :param size: bytes of the file.
    :raises WireError: when it is damaged, or larger than any model.
    :raises OSError: when it cannot be read.
    """
    reader = _Reader(stream, size)
    reader.read()
    return reader.outline


class _Reader:
    """Reads messages, and goes into those of :data:`_INSIDE`."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.outline = Outline(functions=[Function()])
        self._stream, self._size = stream, size
        self._window, self._base = b'', 0
        self._fields = self._nodes = 0
        self._function = self.outline.functions[0]

    def read(self) -> None:
        """Read the whole file."""
        self._read('model', 0, self._size, 0, 0)
        if not self.outline.graphs:
            raise WireError('it contains no graph')

    def _read(self, kind: str, start: int, end: int, depth: int, graphs: int) -> None:
        if depth > MAX_DEPTH:
            raise WireError(f'messages are nested more than {MAX_DEPTH} levels deep')
        if kind == 'graph':
            graphs += 1
            self.outline.graphs += 1
            self.outline.depth = max(self.outline.depth, graphs)
        self.outline.sparse += kind == 'sparse'
        if kind == 'node':
            self._read_node(start, end, depth, graphs)
        elif kind == 'function':
            self._read_function(start, end, depth)
        elif kind == 'tensor':
            self._read_tensor(start, end)
        else:
            self._read_inside(kind, start, end, depth, graphs)

    def _read_inside(self, kind: str, start: int, end: int, depth: int, graphs: int) -> None:
        inside = _INSIDE[kind]
        for number, wire, first, last in self._fields_of(start, end):
            if wire == _BYTES and number in inside:
                self._read(inside[number], first, last, depth + 1, graphs)

    def _read_node(self, start: int, end: int, depth: int, graphs: int) -> None:
        operator = domain = ''
        for number, wire, first, last in self._fields_of(start, end):
            if wire != _BYTES:
                continue
            if number in _INSIDE['node']:
                self._read('attribute', first, last, depth + 1, graphs)
            elif number == _NODE_OPERATOR:
                operator = self._text(first, last)
            elif number == _NODE_DOMAIN:
                domain = self._text(first, last)
        calls = self._function.calls
        calls[domain, operator] = calls.get((domain, operator), 0) + 1
        self._function.nodes += 1
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise WireError(f'it has more than {MAX_NODES} nodes')

    def _read_function(self, start: int, end: int, depth: int) -> None:
        outer, self._function = self._function, Function()
        self.outline.functions.append(self._function)
        for number, wire, first, last in self._fields_of(start, end):
            if wire != _BYTES:
                continue
            if number in _INSIDE['function']:
                self._read(_INSIDE['function'][number], first, last, depth + 1, 0)
            elif number == _FUNCTION_NAME:
                self._function.name = self._text(first, last)
            elif number == _FUNCTION_DOMAIN:
                self._function.domain = self._text(first, last)
        self._function = outer

    def _read_tensor(self, start: int, end: int) -> None:
        found, count = ExternalData(), 1
        for number, wire, first, last in self._fields_of(start, end):
            if number == _TENSOR_DIMS and wire == _VARINT:
                count = _times(count, first)
            elif number == _TENSOR_DIMS and wire == _BYTES:
                count = self._product(count, first, last)
            elif number == _TENSOR_PLACE and wire == _VARINT:
                found.used = first == _ELSEWHERE
            elif number in _INSIDE['tensor'] and wire == _BYTES:
                key, value_text = self._entry(first, last)
                found.entries.setdefault(key, []).append(value_text)
        self.outline.elements = -1 if -1 in (count, self.outline.elements) else \
            max(self.outline.elements, count)
        if found.entries or found.used:
            self.outline.external.append(found)

    def _product(self, count: int, start: int, end: int) -> int:
        if end - start > MAX_TEXT_BYTES:
            raise WireError('a tensor has thousands of dimensions')
        while start < end:
            size, start = self._varint(start, end)
            count = _times(count, size)
        return count

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        """Return key and value; the latter may be long: where prepacked weights lie."""
        key = value = ''
        for number, wire, first, last in self._fields_of(start, end):
            if wire == _BYTES and number == _KEY:
                key = self._text(first, last)
            elif wire == _BYTES and number == _VALUE:
                value = self._text(first, min(last, first + MAX_TEXT_BYTES))
        return key, value

    def _text(self, start: int, end: int) -> str:
        if end - start > MAX_TEXT_BYTES:
            raise WireError(f'a name in it has {end - start} bytes')
        return self._bytes(start, end).decode('utf-8', 'surrogateescape')

    def _fields_of(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """
        Yield number and kind of the fields of a message.

        Then for bytes their start and end, for other kinds the value of a varint.
        """
        while start < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise WireError(f'it has more than {MAX_FIELDS} fields')
            tag, start = self._varint(start, end)
            number, wire = tag >> 3, tag & 7
            if not number:
                raise WireError('a field has no number')
            first = last = start
            if wire == _VARINT:
                first, start = self._varint(start, end)
            elif wire == _BYTES:
                length, first = self._varint(start, end)
                start = last = first + length
            elif wire in (_EIGHT, _FOUR):
                start += 8 if wire == _EIGHT else 4
            else:
                raise WireError(f'a field is of the unknown kind {wire}')
            if start > end:
                raise WireError('it ends too early')
            yield number, wire, first, last

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        """Return a number, modulo 2^64, and where it ends."""
        value = shift = 0
        while start < end and shift < 70:
            place = start - self._base
            if not 0 <= place < len(self._window):
                self._load(start)
                place = 0
            byte = self._window[place]
            start += 1
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, start
            shift += 7
        raise WireError('it ends within a number')

    def _bytes(self, start: int, end: int) -> bytes:
        place = start - self._base
        if not (0 <= place and place + end - start <= len(self._window)):
            self._load(start)
            place = 0
        found = self._window[place:place + end - start]
        if len(found) < end - start:
            raise WireError('it ends too early')
        return found

    def _load(self, start: int) -> None:
        self._stream.seek(start)
        self._window, self._base = self._stream.read(_WINDOW), start
        if not self._window:
            raise WireError('it ends too early')


def _times(count: int, size: int) -> int:
    """Return the product of two sizes, -1 where one is negative, and at most 2^64."""
    return -1 if count < 0 or size >= 1 << 63 else min(count * size, 1 << 64)
