# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write a model folder whose graph is edited."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
import json
import os
from pathlib import Path
import shutil
from tempfile import mkdtemp
from typing import Any

from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.files.folder import TOOL_TEMPLATE
from lfm_ros.engine.files.graph_names import DECODER_GRAPH
from lfm_ros.engine.files.graph_names import PREFILL_GRAPH
from lfm_ros.engine.runtime.opening_limit import limited
from lfm_ros.engine.runtime.opening_limit import opening_seconds
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare import DEFAULT_LANES
from lfm_ros.prepare.accuracy import compare
from lfm_ros.prepare.accuracy import Text
from lfm_ros.prepare.device import computes_in_float32
from lfm_ros.prepare.device import NO_LANES
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import load
from lfm_ros.prepare.optimize import remove
from lfm_ros.prepare.passes import prefill
from lfm_ros.prepare.passes.batch_decode import add_batch_decode
from lfm_ros.prepare.passes.batch_decode import MAX_LANES
from lfm_ros.prepare.passes.float16 import write_float16
from lfm_ros.prepare.passes.int8_kv import calibrated
from lfm_ros.prepare.passes.prefill_attention import add_prefill_attention
from lfm_ros.prepare.pipeline import APPLIED
from lfm_ros.prepare.pipeline import edit_before_attention
from lfm_ros.prepare.pipeline import read_note
from lfm_ros.prepare.pipeline import write_note
from lfm_ros.prepare.reference import open_reference
from lfm_ros.prepare.reference import sample
from lfm_ros.prepare.weights import copy_file
from lfm_ros.prepare.weights import external_files
from lfm_ros.prepare.weights import is_scattered
from lfm_ros.prepare.weights import refer_to
from lfm_ros.prepare.weights import write
import numpy as np

FAST = 'fast'
INT8 = 'int8'

PREPARE_TIMES = 10  # longer than opening it: texts are read with several graphs
_COPIED = ('.json', '.jinja', '.txt', '.model', '.md')


@dataclass(frozen=True)
class PrepareOptions:
    """
    How to prepare a model.

    :param portable: write out what older versions of ONNX Runtime lack.
    :param kv: '' or 'int8': how keys and values are kept.
    :param prefill: '' or 'fast': a second graph for long runs.
    :param lanes: missions that can be decoded in one run.
    :param text: text to calibrate with and to measure on; None: that of the package.
    :param for_device: make it for a GPU: in float16 where it computes in float32, and without
        lanes, which need no edit there.
    """

    portable: bool = False
    kv: str = ''
    prefill: str = ''
    lanes: int = DEFAULT_LANES
    text: Path | None = None
    for_device: bool = False


@dataclass
class Report:
    """What was done: edits by name, and what lossy ones cost."""

    edits: dict[str, str]
    kv: dict[str, Any] = field(default_factory=dict)
    prefill: dict[str, Any] = field(default_factory=dict)
    float16: dict[str, Any] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)


def prepare(model: str | Path, out: Path, variant: str = '',
            options: PrepareOptions = PrepareOptions(),
            progress: Callable[[int], None] = lambda count: None) -> Report:
    """
    Write a complete model folder with an edited graph.

    :param out: a folder that does not exist or is empty; nothing is left there on an error.
    :param progress: called with the number of bytes of weights as they are written.
    :raises LfmError: when that is not possible, with the reason.
    """
    folder = find_model(model, variant)
    _check(folder, out, options)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        _check_fits(folder, staging, options)
        seconds = PREPARE_TIMES * opening_seconds(folder.files)
        with limited(seconds, f'the model {folder.root}'):
            report = _write(folder, staging, options, progress)
        staging.chmod(0o755)
        os.replace(staging, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def _check(folder: ModelFolder, out: Path, options: PrepareOptions) -> None:
    if not 1 <= options.lanes <= MAX_LANES:
        raise LfmError(ErrorCode.INVALID_VALUE, f'{options.lanes} is not a possible batch size: '
                       f'set --slots between 1 and {MAX_LANES}')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LfmError(ErrorCode.INVALID_VALUE, f'{out} exists and is not an empty folder: give '
                       'another one')
    if read_note(load(folder.graph)):
        raise LfmError(ErrorCode.UNSUPPORTED, f'{folder.root} is prepared: run it as it is, or '
                       'prepare the model from which it was made')


def _check_fits(folder: ModelFolder, parent: Path, options: PrepareOptions) -> None:
    size = sum(p.stat().st_size for p in folder.files)
    needed = size * (3 if options.prefill else 1) + (1 << 20)
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise LfmError(ErrorCode.STORAGE_FAILED, f'the prepared model needs {needed / 1e6:,.0f} '
                       f'MB and {free / 1e6:,.0f} MB are free: free some, or give another folder')


def _unwritable(out: Path, error: OSError) -> LfmError:
    return LfmError(ErrorCode.STORAGE_FAILED, f'{out} cannot be written ({error.strerror}): '
                    'free space, or give another folder')


def _write(folder: ModelFolder, target: Path, options: PrepareOptions,
           progress: Callable[[int], None]) -> Report:
    source = folder.graph
    halved = options.for_device and computes_in_float32(load(source))
    if halved:
        source = target / 'float16.onnx'
        write_float16(folder.graph, source)
    text = Text.read(folder, options.text) if options.kv or options.prefill or halved else None
    graph = load(source)
    report = Report(edit_before_attention(graph, options.portable))
    if halved:
        report.edits['float16'] = APPLIED
    if options.kv:
        assert text
        reason = calibrated(graph, folder, text)
        if reason:
            raise LfmError(ErrorCode.UNSUPPORTED, 'keys and values of this graph cannot be kept '
                           f'in 8 bits, {reason}: leave out --kv')
        report.edits['kv'] = APPLIED
    if options.prefill:
        second = prefill.in_eight_bits(graph, folder.graph.parent)
        reason = second if isinstance(second, str) else ''
        if isinstance(second, Graph):
            add_prefill_attention(second)  # where keys and values are kept in 8 bits
            write(second, folder.graph.parent, target / PREFILL_GRAPH, progress)
        if reason:
            raise LfmError(ErrorCode.UNSUPPORTED, 'there is no faster prefill for this graph, '
                           f'{reason}: leave out --prefill')
        report.edits['prefill'] = APPLIED
    lanes = NO_LANES if options.for_device else options.lanes
    report.edits['company'] = add_batch_decode(graph, lanes) or APPLIED
    if options.kv:
        report.edits['long'] = add_prefill_attention(graph) or APPLIED
    _put(graph, source.parent, target / DECODER_GRAPH, progress)
    if halved:
        remove([source, Path(f'{source}.data')])
    before = _prove(folder, target, exact=not (options.kv or halved))
    if text:
        _measure(folder, before, target, text, report)
    write_note(graph, report.edits, lanes, kv=report.kv or '',
               prefill=report.prefill or '')
    (target / DECODER_GRAPH).write_bytes(graph.model.SerializeToString())
    _put_rest(folder, target, progress)
    report.files = {p.name: p.stat().st_size for p in sorted(target.iterdir())
                    if p.is_file()}
    return report


def _prove(folder: ModelFolder, target: Path, exact: bool) -> Path:
    """
    Run a few ids through the new graph; compare its logits where they should be the same.

    :returns: the graph whose logits are those of the model: the new one, where this ONNX Runtime
        is too old for that of the model.
    """
    found = sample(open_reference(target / DECODER_GRAPH, folder))
    if not exact:
        return folder.graph
    try:
        expected = sample(open_reference(folder.graph, folder))
    except LfmError as error:
        if error.code != ErrorCode.RUNTIME_TOO_OLD:
            raise
        return target / DECODER_GRAPH
    if not np.allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max()):
        raise LfmError(ErrorCode.INTERNAL, f'the graph {folder.graph} gives other results after '
                       'it was prepared: run it as it is, and report this')
    return folder.graph


def _measure(folder: ModelFolder, before: Path, target: Path, text: Text,
             report: Report) -> None:
    """Measure what lossy edits cost, on the part of the text that was not calibrated with."""
    if 'kv' in report.edits:
        report.kv = {'type': INT8, **compare(folder, before, target / DECODER_GRAPH, text)}
    elif 'float16' in report.edits:
        report.float16 = compare(folder, before, target / DECODER_GRAPH, text)
    if 'prefill' in report.edits:
        data = target / f'{PREFILL_GRAPH}.data'
        report.prefill = {'type': FAST, 'bytes': data.stat().st_size,
                          **compare(folder, before, target / PREFILL_GRAPH, text)}


def _put(graph: Graph, source: Path, target: Path, progress: Callable[[int], None]) -> None:
    """
    Write a graph, its weights in one file beside it.

    It is a copy: the package onnx (1.23) opens no file of weights that has two names.
    """
    files = external_files(graph)
    if len(files) == 1 and not is_scattered(graph):
        data = target.with_name(f'{target.name}.data')
        copy_file(source / files[0], data, progress)
        refer_to(graph, data.name)
        target.write_bytes(graph.model.SerializeToString())
    else:
        write(graph, source, target, progress)


def _put_rest(folder: ModelFolder, target: Path, progress: Callable[[int], None]) -> None:
    """Copy tokenizer and settings, and the other graphs with their weights."""
    for origin in {folder.root, folder.graph.parent}:
        for path in sorted(origin.iterdir()):
            if path.is_file() and path.suffix in _COPIED and not (target / path.name).exists():
                shutil.copyfile(path, target / path.name)
    for_tools = folder.file(TOOL_TEMPLATE)
    if for_tools and for_tools.is_file():
        (target / TOOL_TEMPLATE).parent.mkdir(exist_ok=True)
        shutil.copyfile(for_tools, target / TOOL_TEMPLATE)
    others = {'embedding': folder.embedding, 'vision': folder.vision}
    for other in filter(None, others.values()):
        graph = load(other)
        if external_files(graph):
            _put(graph, other.parent, target / other.name, progress)
        else:
            copy_file(other, target / other.name, progress)
    settings = target / 'genai_config.json'
    if settings.is_file():
        _adapt(settings, {'decoder': DECODER_GRAPH, **{n: p.name for n, p in others.items() if p}})


def _adapt(settings: Path, names: dict[str, str]) -> None:
    """Put the new names of the graphs into genai_config.json."""
    content = json.loads(settings.read_text(encoding='utf-8'))
    for part, name in names.items():
        entry = content.get('model', {}).get(part)
        if isinstance(entry, dict) and 'filename' in entry:
            entry['filename'] = name
    settings.write_text(json.dumps(content, indent=4, ensure_ascii=False) + '\n',
                        encoding='utf-8')
