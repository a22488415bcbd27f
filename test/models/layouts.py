# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Other layouts of the same files, as they are published.

Each function reads the model folder `source`, writes the new folder `target` and returns it.
"""

from pathlib import Path
import shutil

from graph_folder import copy
from graph_folder import read
from graph_folder import write
import onnx
from onnx import external_data_helper

LARGE = 256


def in_one_file(source: Path, target: Path) -> Path:
    """Keep all weights inside model.onnx."""
    model = read(source)
    copy(source, target)
    (target / 'model.onnx.data').unlink()
    write(model, target / 'model.onnx', None)
    return target


def with_external_data(
        source: Path, target: Path, suffix: str = '_data', files: int = 1) -> Path:
    """
    Keep the weights in other files than model.onnx.data.

    :param suffix: what follows `model.onnx` in the name of the first file, `_data` or `.data`
    :param files: number of files; the second one is named like the first one with `_1` behind
    """
    model = read(source)
    copy(source, target)
    (target / 'model.onnx.data').unlink()
    _save_spread(model, target / 'model.onnx', suffix, files)
    return target


def in_onnx_community_layout(
        sources: dict[str, Path], target: Path, files: int = 1) -> Path:
    """
    Put several precisions of one model into one folder, as onnx-community publishes them.

    The graphs lie in the subfolder `onnx`; configuration and tokenizer, taken from the first
    source, lie above; there is no genai_config.json.

    :param sources: folder of each precision by what follows `model` in its file name:
        '', '_fp16', '_q4', '_q4f16' or '_quantized'
    :param files: number of files for the weights of each graph
    """
    first = next(iter(sources.values()))
    shutil.copytree(
        first, target, ignore=shutil.ignore_patterns('*.onnx*', 'genai_config.json'))
    (target / 'onnx').mkdir()
    for suffix, source in sources.items():
        _save_spread(read(source), target / 'onnx' / f'model{suffix}.onnx', '_data', files)
    return target


def without(source: Path, target: Path, *names: str) -> Path:
    """Leave out the files `names`, such as 'genai_config.json'."""
    copy(source, target)
    for name in names:
        (target / name).unlink()
    return target


def _save_spread(model: onnx.ModelProto, graph: Path, suffix: str, files: int) -> None:
    """Save `model` with its large weights in turn in each of `files` files beside `graph`."""
    names = [f'{graph.name}{suffix}' + (f'_{i}' if i else '') for i in range(files)]
    large = [t for t in model.graph.initializer if len(t.raw_data) > LARGE]
    for index, tensor in enumerate(large):
        external_data_helper.set_external_data(tensor, names[index * files // len(large)])
    graph.unlink(missing_ok=True)
    onnx.save(model, str(graph))
