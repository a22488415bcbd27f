# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make the graphs with which rows of a tensor are read, written, copied and rotated on a device.

ONNX Runtime has no other way to touch a part of an OrtValue that is not in the memory of the
host. Rows are moved as bytes, so one graph serves all types.

    python tools/make_row_graphs.py
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper
from onnx import TensorProto

FOLDER = Path(__file__).resolve().parents[1] / 'lfm_ros' / 'engine' / 'runtime' / 'row_graphs'
BYTES, INT64, FLOAT = TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT
FLOATS = {'float16': TensorProto.FLOAT16, 'float32': TensorProto.FLOAT}
OPSET, IR_VERSION = 17, 8
AXIS = 2  # of rows


def value(name: str, kind: int, shape: Sequence[Any]) -> Any:
    """Return the declaration of an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def tensor(name: str, kind: int) -> Any:
    """Return the declaration of a tensor with rows."""
    return value(name, kind, ['batch', 'heads', f'{name}_rows', 'width'])


def cut(source: str, result: str) -> Any:
    """Return the node that takes the rows from ``start`` to ``end``."""
    return helper.make_node('Slice', [source, 'start', 'end', 'axis'], [result])


def put(rows: str) -> Any:
    """Return the node that writes rows to the places that ``indices`` names."""
    return helper.make_node('ScatterND', ['target', 'indices', rows], ['result'])


BOUNDS = [value('start', INT64, [1]), value('end', INT64, [1])]
INDICES = value('indices', INT64, ['batch', 'heads', 'rows', 3])
RESULT = tensor('result', BYTES)


def graphs() -> dict[str, Any]:
    """Return all graphs, by the names of their files."""
    found = {
        'read': graph([cut('source', 'result')], [tensor('source', BYTES), *BOUNDS], RESULT),
        'write': graph([put('rows')], [tensor('target', BYTES), INDICES, tensor('rows', BYTES)],
                       RESULT),
        'copy': graph([cut('source', 'rows'), put('rows')],
                      [tensor('target', BYTES), INDICES, tensor('source', BYTES), *BOUNDS],
                      RESULT),
        'choose': graph(
            [helper.make_node('Where', ['chosen', 'source', 'target'], ['result'])],
            [value('chosen', TensorProto.BOOL, [1, 'heads', 1, 1]), tensor('source', BYTES),
             tensor('target', BYTES)], RESULT),
        'zero': graph([helper.make_node('ConstantOfShape', ['shape'], ['result'],
                                        value=helper.make_tensor('zero', BYTES, [1], [0]))],
                      [value('shape', INT64, [4])], RESULT)}
    for name, kind in FLOATS.items():
        found[f'rotate_{name}'] = rotate(kind)
    return found


def rotate(kind: int) -> Any:
    """
    Return the graph that rotates keys and writes them elsewhere in the same tensor.

    Of each head the numbers ``i`` and ``i + half`` are rotated, in float32; what is behind them
    stays as it is.
    """
    node = helper.make_node
    nodes = [
        cut('target', 'keys'),
        node('Shape', ['cos'], ['half']),
        node('Add', ['half', 'half'], ['both']),
        node('Slice', ['keys', 'none', 'half', 'last'], ['low_keys']),
        node('Slice', ['keys', 'half', 'both', 'last'], ['high_keys']),
        node('Slice', ['keys', 'both', 'all', 'last'], ['rest']),
        node('Cast', ['low_keys'], ['low'], to=FLOAT),
        node('Cast', ['high_keys'], ['high'], to=FLOAT),
        node('Mul', ['low', 'cos'], ['low_cos']), node('Mul', ['high', 'sin'], ['high_sin']),
        node('Mul', ['high', 'cos'], ['high_cos']), node('Mul', ['low', 'sin'], ['low_sin']),
        node('Sub', ['low_cos', 'high_sin'], ['new_low']),
        node('Add', ['high_cos', 'low_sin'], ['new_high']),
        node('Cast', ['new_low'], ['first'], to=kind),
        node('Cast', ['new_high'], ['second'], to=kind),
        node('Concat', ['first', 'second', 'rest'], ['rotated'], axis=-1),
        put('rotated')]
    return graph(nodes, [tensor('target', kind), INDICES, *BOUNDS, value('cos', FLOAT, ['n']),
                         value('sin', FLOAT, ['n'])], tensor('result', kind))


def graph(nodes: Sequence[Any], inputs: Sequence[Any], output: Any) -> Any:
    """Return a model with the constants that its nodes use."""
    used = {name for node in nodes for name in node.input}
    numbers = {'axis': AXIS, 'none': 0, 'last': -1, 'all': (1 << 63) - 1}
    constants = [helper.make_tensor(name, INT64, [1], [number])
                 for name, number in numbers.items() if name in used]
    made = helper.make_graph(list(nodes), 'rows', list(inputs), [output], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid('', OPSET)],
                              ir_version=IR_VERSION, producer_name='lfm_ros')
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, model in graphs().items():
        (FOLDER / f'{name}.onnx').write_bytes(model.SerializeToString())


if __name__ == '__main__':
    main()
