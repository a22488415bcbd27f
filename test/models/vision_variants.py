# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Other forms of the fixture `lfm2-vl-past-conv` which are met in the field.

Each function reads the model folder `source`, writes the new folder `target` and returns it.
They need the package onnx and neither torch nor transformers.
"""

from pathlib import Path
import tempfile

from graph_folder import copy
from graph_folder import read
import onnx
from onnx import helper
from onnx import TensorProto
from variants import with_position_ids


def with_half_precision(
        source: Path, target: Path, inside: tuple[str, ...] = ('embed_tokens',)) -> Path:
    """
    Add the vision encoder and the embedding as NAME_fp16.onnx, their results rounded to fp16.

    :param inside: names of the graphs whose float inputs and outputs are fp16 too; the others keep
        fp32 there, as exporters do at will
    """
    copy(source, target)
    for name in ('vision_encoder', 'embed_tokens'):
        model = onnx.load(str(source / 'onnx' / f'{name}.onnx'))
        _round_output(model.graph, keep=name not in inside)
        if name in inside:
            _take_half(model.graph)
        onnx.save(model, str(target / 'onnx' / f'{name}_fp16.onnx'))
    return target


def with_early_names(source: Path, target: Path) -> Path:
    """Name the graphs as Liquid AI's first exports did; the decoder then takes `position_ids`."""
    copy(source, target)
    graphs = target / 'onnx'
    (graphs / 'vision_encoder.onnx').rename(graphs / 'embed_images.onnx')
    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch, 'before'), Path(scratch, 'after')
        before.mkdir()
        decoder = onnx.load(str(graphs / 'decoder_model_merged.onnx'))
        onnx.save(decoder, str(before / 'model.onnx'))
        changed = read(with_position_ids(before, after))
    for file in graphs.glob('decoder_model_merged.onnx*'):
        file.unlink()
    onnx.save(
        changed, str(graphs / 'decoder.onnx'), save_as_external_data=True,
        all_tensors_to_one_file=True, location='decoder.onnx_data', size_threshold=256)
    return target


def with_other_image_id(source: Path, target: Path, name: str) -> Path:
    """Copy with the id of an image token under another name in config.json, as in older files."""
    copy(source, target)
    config = target / 'config.json'
    config.write_text(config.read_text().replace('"image_token_id"', f'"{name}"'))
    return target


def _round_output(graph: onnx.GraphProto, keep: bool) -> None:
    """Round the first output to fp16; with `keep` it is cast back to fp32."""
    output = graph.output[0]
    inner = f'{output.name}/fp32'
    for node in graph.node:
        node.output[:] = [inner if name == output.name else name for name in node.output]
    rounded = f'{output.name}/fp16' if keep else output.name
    graph.node.append(helper.make_node('Cast', [inner], [rounded], to=TensorProto.FLOAT16))
    if keep:
        graph.node.append(helper.make_node('Cast', [rounded], [output.name], to=TensorProto.FLOAT))
    else:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16


def _take_half(graph: onnx.GraphProto) -> None:
    """Let every float input be fp16."""
    for item in graph.input:
        if item.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        item.type.tensor_type.elem_type = TensorProto.FLOAT16
        inner = f'{item.name}/fp32'
        for node in graph.node:
            node.input[:] = [inner if name == item.name else name for name in node.input]
        graph.node.insert(0, helper.make_node('Cast', [item.name], [inner], to=TensorProto.FLOAT))
