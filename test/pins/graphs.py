# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `lfm prepare` adds to graphs, and the files and notes that it leaves."""
from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from internals import from_lines
from internals import lfm
from internals import MODELS
from pins.shape import names
from pins.shape import shape

NEEDS = (1, 29)  # ONNX Runtime, for the exports of today and keys and values in 8 bits
# A model of text with all that is to be had, and one that sees.
MODELS_AND_OPTIONS = {
    'lfm2-int4': ('--kv', 'int8', '--prefill', 'fast'), 'vision/lfm2-vl-past-conv': ()}


def collect() -> dict[str, Any]:
    """Prepare tiny models and look at what is in the folders."""
    found = {}
    with TemporaryDirectory() as work:
        for name, options in MODELS_AND_OPTIONS.items():
            out = Path(work) / Path(name).name
            status, text = lfm('prepare', MODELS / name, out, *options, '--json')
            assert not status, text
            told = shape(from_lines(text), ('files',))
            found[f'{name} {" ".join(options)}'.strip()] = {
                'keys of --json': told, 'files': names(out),
                'graphs': {file.name: _graph(MODELS / name, file)
                           for file in sorted(out.glob('*.onnx'))}}
    return found


def _graph(source: Path, file: Path) -> dict[str, Any]:
    """Return the inputs, outputs and notes of a graph that its model has not."""
    import onnx
    graph = onnx.load(file, load_external_data=False)
    before = next((onnx.load(path, load_external_data=False) for path in source.rglob('*.onnx')
                   if path.name in (file.name, 'decoder_model_merged.onnx')), None)
    notes = {item.key: item.value for item in graph.metadata_props}
    return {'inputs': _values(graph.graph.input, before and before.graph.input),
            'outputs': _values(graph.graph.output, before and before.graph.output),
            'notes': {key: shape(json.loads(value)) for key, value in notes.items()
                      if key.startswith('lfm_ros')}}


def _values(values: Any, before: Any) -> list[str]:
    import onnx
    known = {value.name for value in before or ()}
    names = onnx.TensorProto.DataType.Name
    return [f'{value.name}: {names(value.type.tensor_type.elem_type)} of '
            f'{len(value.type.tensor_type.shape.dim)} axes'
            for value in values if value.name not in known]
