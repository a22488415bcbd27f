# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make models at published shapes with random weights, in the formats of all engines compared.

For each: a checkpoint, exports to ONNX, GGUF files; bits.json beside each says how many bits a
weight takes. What exists is kept. It needs what test/models/requirements.txt lists, and gguf and
llama-cpp-python for GGUF files.

    python bench/make_models.py 350m 700m 1.2b qwen3 --out FOLDER
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import shutil
import time
from typing import Any

from formats import gguf_export
from formats import onnx_export
from formats.checkpoint import make_checkpoint
from formats.checkpoint import Shape
from formats.checkpoint import SHAPES

DEFAULT = ('int4', 'int4-32', 'q4_0')
DEFAULT_350M = (*DEFAULT, 'q4_k_m')
ALL = (*onnx_export.FORMATS, *gguf_export.FORMATS)


def main() -> None:
    """Make the named models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('names', nargs='+', choices=SHAPES, metavar='NAME',
                        help=', '.join(SHAPES))
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--formats', help='separated by commas, of ' + ', '.join(ALL))
    arguments = parser.parse_args()
    for name in arguments.names:
        formats = DEFAULT_350M if name == '350m' else DEFAULT
        if arguments.formats:
            formats = tuple(arguments.formats.split(','))
        make(name, SHAPES[name], arguments.out.resolve() / name, formats)


def make(name: str, shape: Shape, folder: Path, formats: tuple[str, ...]) -> None:
    """Make one model in some formats."""
    checkpoint = folder / 'checkpoint'

    def fill(target: Path) -> dict[str, Any]:
        make_checkpoint(shape, target)
        return {'weight_bytes': 2 * shape.parameters, 'matrices': 'bf16'}

    step(f'{name} checkpoint', checkpoint, shape, fill)
    for kind in formats:
        if kind in gguf_export.FORMATS:
            step(f'{name} {kind}', folder / kind, shape,
                 lambda target, kind=kind: make_gguf(checkpoint, target, kind))
        else:
            step(f'{name} {kind}', folder / kind, shape,
                 lambda target, kind=kind: make_onnx(shape, checkpoint, target, kind))
    for scratch in (folder / 'cache', folder / 'f16.gguf'):
        if scratch.is_dir():
            shutil.rmtree(scratch)
        scratch.unlink(missing_ok=True)


def make_onnx(shape: Shape, checkpoint: Path, folder: Path, kind: str) -> dict[str, Any]:
    """Export to ONNX and return what it weighs."""
    onnx_export.export_onnx(checkpoint, folder, kind)
    return onnx_export.weigh_onnx(folder, shape.settings['vocab_size'], onnx_export.BLOCKS[kind])


def make_gguf(checkpoint: Path, folder: Path, kind: str) -> dict[str, Any]:
    """Write a GGUF file and return what it weighs; the file in fp16 is kept for the next."""
    wide = folder.parent / 'f16.gguf'
    if not wide.exists():
        gguf_export.write_gguf(checkpoint, wide.with_suffix('.part'))
        wide.with_suffix('.part').rename(wide)
    gguf_export.quantize(wide, folder / 'model.gguf', kind)
    return gguf_export.weigh_gguf(folder / 'model.gguf')


def step(title: str, folder: Path, shape: Shape, fill: Callable[[Path], dict[str, Any]]) -> None:
    """Fill a folder unless it is complete, which its bits.json tells."""
    note = folder / 'bits.json'
    if not note.exists():
        started = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        weight = fill(folder)
        note.write_text(json.dumps({
            'parameters': shape.parameters,
            'bits_per_weight': round(8 * weight['weight_bytes'] / shape.parameters, 3),
            **weight}, indent=2) + '\n')
        title += f' made in {time.monotonic() - started:.0f} s'
    bits = json.loads(note.read_text())
    print(f'{title}: {bits["bits_per_weight"]} bits per weight, {bits["matrices"]}', flush=True)


if __name__ == '__main__':
    main()
