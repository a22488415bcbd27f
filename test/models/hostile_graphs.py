# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs that no exporter writes, each small and meant to do harm to what opens it."""

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import numpy
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto

Make = Callable[[], bytes]

# Where a tensor can stand in a model.
WHERE = ('initializer', 'constant', 'constants', 'branch', 'branches', 'function', 'training')


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield the weights of a model, and those of constants."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            for graph in (*attribute.graphs, attribute.g):
                yield from tensors(onnx.ModelProto(graph=graph))


def value(name: str, kind: int = TensorProto.FLOAT, shape: tuple = ('n',)) -> onnx.ValueInfoProto:
    """Return the description of an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes: list, weights: list = [], name: str = 'x', **more: object) -> bytes:
    """Return a model that takes `name` and gives `y`."""
    graph = helper.make_graph(nodes, 'g', [value(name)], [value('y')], weights)
    opsets = [helper.make_opsetid('', 21), helper.make_opsetid('d', 1)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=10, **more).SerializeToString()


ADD = helper.make_node('Add', ['x', 'w'], ['y'])


def tensor(*dims: int) -> Make:
    """Make a weight that claims these sizes and has 16 bytes."""
    def make() -> bytes:
        weight = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(16))
        return model_of([ADD], [weight])
    return make


def strings() -> Make:
    """Make a weight of text."""
    def make() -> bytes:
        weight = TensorProto(name='w', data_type=TensorProto.STRING, dims=[2],
                             string_data=[b'\xff\x1b[31m', b''])
        return model_of([ADD], [weight])
    return make


def chain(count: int) -> Make:
    """Make so many nodes, all alike."""
    node = helper.make_node('Neg', ['x'], ['y']).SerializeToString()
    return lambda: _wrapped(field(1, node) * count)


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    found = bytearray()
    while number > 0x7f:
        found.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def _wrapped(graph: bytes, *more: bytes) -> bytes:
    """Return a model around a graph."""
    opset = field(8, field(1, b'') + b'\x10\x15')
    return b'\x08\x0a' + opset + field(7, graph) + b''.join(more)


def nested(depth: int) -> Make:
    """Make nodes If inside of each other."""
    def branch(name: bytes, graph: bytes) -> bytes:
        return field(5, field(1, name) + field(6, graph) + b'\xa0\x01\x05')

    def make() -> bytes:
        plain = helper.make_graph([helper.make_node('Identity', ['x'], ['e'])], 'g', [],
                                  [value('e')]).SerializeToString()
        graph = plain
        for level in range(depth):
            output = f'o{level}'
            node = (field(1, b'c') + field(2, output.encode()) + field(4, b'If')
                    + branch(b'then_branch', graph) + branch(b'else_branch', plain))
            graph = field(1, node) + field(2, b'g') + \
                field(12, value(output).SerializeToString())
        inputs = (value('x'), value('c', TensorProto.BOOL, ()))
        return _wrapped(graph + b''.join(field(11, i.SerializeToString()) for i in inputs))
    return make


def fields(count: int) -> Make:
    """Make a graph with many fields that nobody knows."""
    return lambda: _wrapped(b'\xf8\x07\x00' * count)


def groups(depth: int) -> Make:
    """Make groups, a kind of field that ONNX has never had, inside of each other."""
    return lambda: b'\x08\x0a' + varint(500 << 3 | 3) * depth + varint(500 << 3 | 4) * depth


def functions(bodies: list[list[str]]) -> Make:
    """Make functions F0, F1, ... of the model, each a chain of these operators."""
    def make() -> bytes:
        made = []
        for number, operators in enumerate(bodies):
            nodes = [helper.make_node(name, [f't{i}'], [f't{i + 1}'],
                                      domain='d' if name.startswith('F') else '')
                     for i, name in enumerate(operators)]
            made.append(helper.make_function(
                'd', f'F{number}', ['t0'], [f't{len(operators)}'], nodes,
                [helper.make_opsetid('', 21), helper.make_opsetid('d', 1)]))
        return model_of([helper.make_node('F0', ['x'], ['y'], domain='d')], functions=made)
    return make


def _sparse(size: int, place: int) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(
        values=numpy_helper.from_array(numpy.ones(1, numpy.float32), 'w'),
        indices=numpy_helper.from_array(numpy.array([place]), 'i'), dims=[size])


def sparse(size: int, place: int) -> Make:
    """Make a sparse weight with one number."""
    def make() -> bytes:
        model = onnx.load_from_string(model_of([ADD]))
        model.graph.sparse_initializer.append(_sparse(size, place))
        return model.SerializeToString()
    return make


def sparse_constant(size: int, place: int) -> Make:
    """Make a sparse constant with one number."""
    return lambda: model_of([helper.make_node('Constant', [], ['w'],
                                              sparse_value=_sparse(size, place)), ADD])


def operator(name: str) -> Make:
    """Make a node of this operator."""
    return lambda: model_of([helper.make_node(name, ['x'], ['y'])])


def named_input(name: str) -> Make:
    """Make an input of this name."""
    return lambda: model_of([helper.make_node('Identity', [name], ['y'])], name=name)


def not_utf8() -> Make:
    """Make an input whose name is not UTF-8."""
    return lambda: named_input('QQQQ')().replace(b'QQQQ', b'\xff\xfe\x80x')


def circle() -> Make:
    """Make nodes that wait for each other."""
    return lambda: model_of([helper.make_node('Add', ['x', 'b'], ['a']),
                             helper.make_node('Neg', ['a'], ['b']),
                             helper.make_node('Neg', ['b'], ['y'])])


def twice() -> Make:
    """Make two inputs of one name."""
    def make() -> bytes:
        model = onnx.load_from_string(operator('Neg')())
        model.graph.input.append(value('x'))
        return model.SerializeToString()
    return make


def constant_of_shape(count: int) -> Make:
    """Make a constant that would be computed when the graph is opened."""
    return lambda: model_of(
        [helper.make_node('ConstantOfShape', ['s'], ['k']),
         helper.make_node('ReduceSum', ['k'], ['w'], keepdims=0), ADD],
        [numpy_helper.from_array(numpy.array([count]), 's')])


def endless_folding() -> bytes:
    """Return a graph whose constants take ONNX Runtime hours when it opens it."""
    one = numpy_helper.from_array(numpy.ones(1, numpy.float32))
    nodes = [helper.make_node('ConstantOfShape', ['s'], ['m0'], value=one)]
    nodes += [helper.make_node('MatMul', [f'm{i}', 'm0'], [f'm{i + 1}']) for i in range(2000)]
    return model_of([*nodes, helper.make_node('ReduceSum', ['m2000'], ['w'], keepdims=0), ADD],
                    [numpy_helper.from_array(numpy.array([8000, 8000]), 's')])


def loop_in(path: Path) -> None:
    """Have the logits of a model wait for a loop that counts to 2^62."""
    model = onnx.load(str(path), load_external_data=False)
    last = next(n for n in model.graph.node if 'logits' in n.output)
    last.output[list(last.output).index('logits')] = 'counted'
    inner = helper.make_graph(
        [helper.make_node('Identity', ['go'], ['goes']), helper.make_node('Neg', ['v'], ['w'])],
        'body', [value('i', TensorProto.INT64, ()), value('go', TensorProto.BOOL, ()),
                 value('v', TensorProto.FLOAT, (1, 1, 1))],
        [value('goes', TensorProto.BOOL, ()), value('w', TensorProto.FLOAT, (1, 1, 1))])
    model.graph.initializer.extend([
        numpy_helper.from_array(numpy.array(1 << 62), 'loop.most'),
        numpy_helper.from_array(numpy.array(True), 'loop.go')])
    model.graph.node.extend([
        helper.make_node('ReduceMax', ['counted'], ['loop.start'], keepdims=1),
        helper.make_node('Loop', ['loop.most', 'loop.go', 'loop.start'], ['loop.end'], body=inner),
        helper.make_node('Add', ['counted', 'loop.end'], ['logits'])])
    path.write_bytes(model.SerializeToString())


def _external(location: str, offset: str, length: str) -> onnx.TensorProto:
    made = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=[1024],
                       data_location=TensorProto.EXTERNAL)
    for key, text in (('location', location), ('offset', offset), ('length', length)):
        made.external_data.add(key=key, value=text)
    return made


def external(where: str, location: str, offset: str = '0', length: str = '4096') -> bytes:
    """Return a model with a tensor in another file; `where` is one of WHERE."""
    made = _external(location, offset, length)
    if where == 'initializer':
        return model_of([ADD], [made])
    if where == 'constant':
        return model_of([helper.make_node('Constant', [], ['w'], value=made), ADD])
    if where == 'constants':
        node = helper.make_node('Odd', ['x'], ['w'], domain='d')
        node.attribute.add(name='many', type=onnx.AttributeProto.TENSORS, tensors=[made])
        return model_of([node, ADD])
    graph = helper.make_graph([], 'inner', [], [value('w')], [made])
    if where == 'branch':
        return model_of([helper.make_node('If', ['c'], ['w'], then_branch=graph,
                                          else_branch=graph), ADD])
    if where == 'branches':
        node = helper.make_node('Odd', ['x'], ['w'], domain='d')
        node.attribute.add(name='many', type=onnx.AttributeProto.GRAPHS, graphs=[graph])
        return model_of([node, ADD])
    if where == 'function':
        inner = helper.make_function(
            'd', 'F0', ['t0'], ['w'], [helper.make_node('Constant', [], ['w'], value=made)],
            [helper.make_opsetid('', 21)])
        return model_of([helper.make_node('F0', ['x'], ['y'], domain='d')], functions=[inner])
    assert where == 'training'
    model = onnx.load_from_string(model_of([helper.make_node('Neg', ['x'], ['y'])]))
    model.training_info.add().algorithm.CopyFrom(graph)
    return model.SerializeToString()


def other_orders(location: str) -> Iterator[bytes]:
    """Yield models whose tensor names a file with its fields in other orders."""
    key, name = field(1, b'location'), field(2, location.encode())
    unknown = b'\xf8\x07\x2a' + field(999, b'?') + varint(998 << 3 | 1) + bytes(8)
    elsewhere, dims = b'\x70\x01', b'\x08\x80\x08'
    for entry in (key + name, name + key, unknown + name + unknown + key,
                  field(1, b'offset') + field(2, b'fine') + key + name):
        for parts in ([elsewhere, dims, field(13, entry)], [field(13, entry), unknown, elsewhere],
                      [field(13, field(1, b'offset') + field(2, b'0')), elsewhere,
                       field(13, entry)]):
            graph = field(5, b''.join([*parts, field(8, b'w'), b'\x10\x01']))
            yield _wrapped(graph)
            yield _wrapped(field(2, b'g'), field(7, graph))  # the second part of one graph
            yield field(7, graph) + b'\x08\x0a'


def write_large(path: Path, size: int) -> None:
    """Write a graph with a weight of so many bytes, as a file with a hole."""
    start = field(8, b'w') + b'\x10\x03' + varint(1 << 3) + varint(size)
    raw = varint(9 << 3 | 2) + varint(size)
    tensor_size = len(start) + len(raw) + size
    head = varint(5 << 3 | 2) + varint(tensor_size) + start + raw
    node = field(1, helper.make_node('Neg', ['x'], ['y']).SerializeToString())
    graph_size = len(head) + size + len(node)
    with path.open('wb') as stream:
        stream.write(b'\x08\x0a' + varint(7 << 3 | 2) + varint(graph_size) + head)
        stream.seek(size, 1)
        stream.write(node)


def peak_bytes() -> int:
    """Return the highest resident memory of this process."""
    with open('/proc/self/status', encoding='ascii') as stream:
        return 1024 * int(stream.read().partition('VmHWM:')[2].split()[0])


def link_out(path: Path) -> None:
    """Make a link to a file in another folder."""
    other = path.parent.parent / 'other'
    other.mkdir(exist_ok=True)
    (other / 'data').write_bytes(bytes(4096))
    path.symlink_to(other / 'data')
