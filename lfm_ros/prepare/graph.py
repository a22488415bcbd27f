# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What all edits of a graph share: find nodes and values, put others in their place."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
import re
from typing import Any

from lfm_ros.engine.files.graph_check import check_graph
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
import numpy as np
import onnx
from onnx import helper
from onnx import numpy_helper

MICROSOFT = 'com.microsoft'
ATTENTION = 'GroupQueryAttention'
CONVOLUTION = 'CausalConvWithState'
TO_THE_END = np.iinfo(np.int64).max

_KEY = re.compile(r'past_key_values\.(\d+)\.key')
_WINDOW = re.compile(r'past_conv\.(\d+)|past\.(\d+)\.conv')


class Graph:
    """
    A graph that is edited in place.

    Its large weights stay in their files: only what the model file itself holds is in memory.
    Nodes may be added at any place; :meth:`sort` brings them in order at the end.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.proto = model.graph

    @property
    def nodes(self) -> Any:
        """The nodes of the outermost graph."""
        return self.proto.node

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs by name, without initializers that are listed there."""
        weights = {t.name for t in self.proto.initializer}
        return {i.name: i for i in self.proto.input if i.name not in weights}

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs by name."""
        return {o.name: o for o in self.proto.output}

    @property
    def attention_layers(self) -> list[int]:
        """The layers that have keys and values, by the names of the inputs."""
        return sorted(int(m[1]) for m in map(_KEY.fullmatch, self.inputs) if m)

    @property
    def conv_states(self) -> dict[int, str]:
        """The input of each convolution layer that takes its conv state."""
        found = ((m, m[0]) for m in map(_WINDOW.fullmatch, self.inputs) if m)
        return {int(m[1] or m[2]): name for m, name in found}

    def of_type(self, *kinds: str) -> list[Any]:
        """Return the nodes of these operators."""
        return [n for n in self.nodes if n.op_type in kinds]

    def producer(self, value: str) -> Any:
        """Return the node that gives a value; None for an input or a weight."""
        return next((n for n in self.nodes if value and value in n.output), None)

    def consumers(self, value: str) -> list[Any]:
        """Return the nodes that read a value, also those that do so in a branch."""
        return [n for n in self.nodes if value in values_read(n)]

    def initializer(self, name: str) -> Any:
        """Return a weight by its name, None if there is no such."""
        return next((t for t in self.proto.initializer if t.name == name), None)

    def constant(self, name: str) -> np.ndarray | None:
        """Return a small constant as an array, None when it is none or lies in another file."""
        tensor = self.initializer(name)
        node = None if tensor is not None else self.producer(name)
        if node is not None and node.op_type == 'Constant':
            tensor = attributes(node).get('value')
        if tensor is None or not hasattr(tensor, 'data_location') or is_external(tensor):
            return None
        return numpy_helper.to_array(tensor)

    def add_constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        """Add a weight, unless one of this name exists, and return its name."""
        if self.initializer(name) is None:
            self.proto.initializer.append(
                numpy_helper.from_array(np.ascontiguousarray(np.array(value, dtype)), name))
        return name

    def add_input(self, name: str, kind: int, shape: Sequence[int | str]) -> None:
        """Add an input behind the others; ``kind`` is a TensorProto.DataType."""
        self.proto.input.append(helper.make_tensor_value_info(name, kind, shape))

    def add_output(self, name: str, kind: int, shape: Sequence[int | str]) -> None:
        """Add an output behind the others."""
        self.proto.output.append(helper.make_tensor_value_info(name, kind, shape))

    def replace(self, node: Any, nodes: Iterable[Any]) -> None:
        """Put nodes in the place of one."""
        index = next(i for i, n in enumerate(self.nodes) if n is node or n == node)
        rest = list(self.nodes)[index + 1:]
        del self.nodes[index:]
        self.nodes.extend([*nodes, *rest])

    def rename(self, old: str, new: str) -> None:
        """Give a value that a node of the outermost graph gives another name."""
        for node in self.nodes:
            _rename(node, old, new)
        for info in list(self.proto.value_info):
            if info.name == old:
                self.proto.value_info.remove(info)

    def below(self, value: str) -> set[str]:
        """Return the values that depend on one, itself included."""
        reached = {value}
        for node in self.nodes:  # in order, as ONNX wants them
            if not reached.isdisjoint(values_read(node)):
                reached.update(o for o in node.output if o)
        return reached

    def reach(self, value: str, kind: str, places: Sequence[int]) -> str:
        """
        Follow a value to all that depends on it.

        :param kind: the operator at which it may end, in these places of its inputs.
        :returns: a node that reads it in another place or gives it out; empty if none does.
        """
        reached = {value}
        for node in self.nodes:
            if node.op_type == kind:
                if any(v in reached for i, v in enumerate(node.input) if i not in places):
                    return str(node.name or kind)
            elif not reached.isdisjoint(values_read(node)):
                if any(o in self.outputs for o in node.output):
                    return str(node.name or node.op_type)
                reached.update(o for o in node.output if o)
        return ''

    def forget_shapes(self, values: set[str]) -> None:
        """
        Drop notes of shapes that are no longer right.

        ONNX Runtime lets values of equal shape share memory, and trusts these notes.
        """
        kept = [info for info in self.proto.value_info if info.name not in values]
        del self.proto.value_info[:]
        self.proto.value_info.extend(kept)

    def sort(self) -> None:
        """Bring the nodes in an order in which each value is computed before it is read."""
        ready = {'', *self.inputs, *(t.name for t in self.proto.initializer),
                 *(t.values.name for t in self.proto.sparse_initializer)}
        waiting = list(self.nodes)
        inner = {o for n in waiting for o in n.output}
        done = []
        while waiting:
            later = []
            for node in waiting:
                if all(v in ready or v not in inner for v in values_read(node)):
                    done.append(node)
                    ready.update(node.output)
                else:
                    later.append(node)
            if len(later) == len(waiting):
                raise LfmError(ErrorCode.MODEL_DAMAGED, 'the graph goes in a circle at '
                               f'{later[0].name or later[0].op_type}: export it again')
            waiting = later
        del self.nodes[:]
        self.nodes.extend(done)


def load(path: Path) -> Graph:
    """
    Read a graph and leave its weights where they are.

    :raises LfmError: as :func:`check_graph`, and MODEL_DAMAGED.
    """
    check_graph(path)
    try:
        return Graph(onnx.load(path, load_external_data=False))
    except OSError as error:
        raise LfmError(ErrorCode.MODEL_NOT_FOUND, f'{path} cannot be read ({error.strerror}): '
                       'check its permissions') from error
    except Exception as error:  # protobuf has classes of its own, which differ by version
        raise LfmError(ErrorCode.MODEL_DAMAGED, f'{path} is truncated or not an ONNX file: '
                       'copy it again') from error


def is_external(tensor: Any) -> bool:
    """Return whether the numbers of a weight lie in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def branches(node: Any) -> Iterator[Any]:
    """Yield the graphs inside of a node."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def values_read(node: Any) -> set[str]:
    """Return the values that a node reads, those of its branches from outside included."""
    found = {name for name in node.input if name}
    for graph in branches(node):
        own = {t.name for t in graph.initializer} | {i.name for i in graph.input}
        own.update(o for n in graph.node for o in n.output)
        read = {v for n in graph.node for v in values_read(n)} | {o.name for o in graph.output}
        found |= read - own
    return found


def branch(name: str, nodes: Sequence[Any], outputs: Sequence[str]) -> Any:
    """Return a graph for a branch of If; ONNX Runtime finds the types of its outputs itself."""
    return helper.make_graph(nodes, name, [], [onnx.ValueInfoProto(name=o) for o in outputs])


def _rename(node: Any, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            if name == old:
                names[index] = new
    for graph in branches(node):
        for inner in graph.node:
            _rename(inner, old, new)
