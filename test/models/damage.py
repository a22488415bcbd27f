# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Model folders that can not work, each in a way that was seen in the field.

Each function reads the model folder `source`, writes the new folder `target` and returns it; what
opens `target` must say what is wrong, and with which file.
"""

import hashlib
import json
from pathlib import Path
import shutil

from graph_folder import copy
from graph_folder import edit
import numpy
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto

GRAPH = 'model.onnx'
DATA = 'model.onnx.data'
TOKENIZER = 'tokenizer.json'


def truncated(source: Path, target: Path, name: str = DATA, share: float = 0.5) -> Path:
    """Keep only the first part of the file `name`, as a broken download does."""
    copy(source, target)
    content = (source / name).read_bytes()
    (target / name).write_bytes(content[:int(len(content) * share)])
    return target


def missing(source: Path, target: Path, name: str = DATA) -> Path:
    """Leave out the file `name`."""
    copy(source, target)
    (target / name).unlink()
    return target


def empty(source: Path, target: Path, name: str = GRAPH) -> Path:
    """Make the file `name` empty, as a full disk does."""
    copy(source, target)
    (target / name).write_bytes(b'')
    return target


def garbage(source: Path, target: Path, name: str = GRAPH) -> Path:
    """Fill the file `name` with random bytes of the same length."""
    copy(source, target)
    random = numpy.random.Generator(numpy.random.PCG64(0))
    (target / name).write_bytes(random.bytes((source / name).stat().st_size))
    return target


def lfs_pointer(source: Path, target: Path, name: str = DATA) -> Path:
    """Put in place of the file `name` what `git clone` leaves without Git LFS."""
    copy(source, target)
    content = (source / name).read_bytes()
    (target / name).write_text(
        'version https://git-lfs.github.com/spec/v1\n'
        f'oid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n')
    return target


def not_a_number(source: Path, target: Path) -> Path:
    """Set one weight of the last norm to NaN, so that every logit is NaN."""
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if 'final_norm' in t.name)
        values = numpy_helper.to_array(tensor).copy()
        values[0] = numpy.nan
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return edit(source, target, change)


def with_more_tokens(source: Path, target: Path, count: int = 64) -> Path:
    """Give the tokenizer `count` entries for which the graph has no logit."""
    copy(source, target)
    tokenizer = json.loads((source / TOKENIZER).read_text())
    vocabulary = tokenizer['model']['vocab']
    first = 1 + max([*vocabulary.values(), *(t['id'] for t in tokenizer['added_tokens'])])
    vocabulary.update({f'unknown{i}': first + i for i in range(count)})
    (target / TOKENIZER).write_text(json.dumps(tokenizer))
    return target


def with_tokenizer_of(source: Path, target: Path, other: Path) -> Path:
    """Put in the tokenizer and the chat template of the folder `other`."""
    copy(source, target)
    (target / 'chat_template.jinja').unlink(missing_ok=True)
    for name in (TOKENIZER, 'tokenizer_config.json', 'chat_template.jinja'):
        if (other / name).exists():
            shutil.copyfile(other / name, target / name)
    return target


def foreign_image_net(source: Path, target: Path) -> Path:
    """Put in a classifier of images in place of the language model."""
    random = numpy.random.Generator(numpy.random.PCG64(0))
    weight = random.normal(size=(10, 3, 3, 3)).astype(numpy.float32)
    graph = helper.make_graph(
        [helper.make_node('Conv', ['pixel_values', 'weight'], ['features']),
         helper.make_node('GlobalAveragePool', ['features'], ['pooled']),
         helper.make_node('Flatten', ['pooled'], ['logits'])],
        'image_net',
        [helper.make_tensor_value_info(
            'pixel_values', TensorProto.FLOAT, ['batch_size', 3, 'height', 'width'])],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, ['batch_size', 10])],
        [numpy_helper.from_array(weight, 'weight')])
    return _foreign(source, target, graph)


def foreign_text_encoder(source: Path, target: Path) -> Path:
    """Put in an encoder of sentences, which gives vectors and no logits."""
    random = numpy.random.Generator(numpy.random.PCG64(0))
    table = random.normal(size=(320, 32)).astype(numpy.float32)
    text = ['batch_size', 'sequence_length']
    graph = helper.make_graph(
        [helper.make_node('Gather', ['table', 'input_ids'], ['vectors']),
         helper.make_node('Cast', ['attention_mask'], ['mask'], to=TensorProto.FLOAT),
         helper.make_node('Unsqueeze', ['mask', 'last'], ['column']),
         helper.make_node('Mul', ['vectors', 'column'], ['last_hidden_state'])],
        'text_encoder',
        [helper.make_tensor_value_info(name, TensorProto.INT64, text)
         for name in ('input_ids', 'attention_mask')],
        [helper.make_tensor_value_info('last_hidden_state', TensorProto.FLOAT, [*text, 32])],
        [numpy_helper.from_array(table, 'table'),
         numpy_helper.from_array(numpy.array([-1], numpy.int64), 'last')])
    return _foreign(source, target, graph)


def _foreign(source: Path, target: Path, graph: onnx.GraphProto) -> Path:
    """Copy `source` with `graph` in place of its own."""
    copy(source, target)
    (target / DATA).unlink()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 21)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(target / GRAPH))
    return target
