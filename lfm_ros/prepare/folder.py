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

from lfm_ros.engine.folder import find_model
from lfm_ros.engine.folder import ModelFolder
from lfm_ros.engine.model import DECODER_GRAPH
from lfm_ros.engine.model import PREFILL_GRAPH
from lfm_ros.engine.opening_limit import limited
from lfm_ros.engine.opening_limit import opening_seconds
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare import prefill
from lfm_ros.prepare import SLOTS
from lfm_ros.prepare.company import add_company
from lfm_ros.prepare.company import MOST_SLOTS
from lfm_ros.prepare.edits import APPLIED
from lfm_ros.prepare.edits import edit_before_attention
from lfm_ros.prepare.edits import read_note
from lfm_ros.prepare.edits import write_note
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import load
from lfm_ros.prepare.kv8 import calibrated
from lfm_ros.prepare.long import add_long
from lfm_ros.prepare.quality import compare
from lfm_ros.prepare.quality import Text
from lfm_ros.prepare.trial import open_trial
from lfm_ros.prepare.trial import sample
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
class Wishes:
    """
    What is asked for.

    :param portable: write out what older versions of ONNX Runtime lack.
    :param kv: '' or 'int8': how keys and values are kept.
    :param prefill: '' or 'fast': a second graph for long calls.
    :param slots: missions that can decode in one call.
    :param text: text to calibrate with and to measure on; None: that of the package.
    """

    portable: bool = False
    kv: str = ''
    prefill: str = ''
    slots: int = SLOTS
    text: Path | None = None


@dataclass
class Report:
    """What was done: edits by name, and what lossy ones cost."""

    edits: dict[str, str]
    kv: dict[str, Any] = field(default_factory=dict)
    prefill: dict[str, Any] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)


def prepare(model: str | Path, out: Path, variant: str = '', wishes: Wishes = Wishes(),
            progress: Callable[[int], None] = lambda count: None) -> Report:
    """
    Write a complete model folder with an edited graph.

    :param out: a folder that does not exist or is empty; nothing is left there on an error.
    :param progress: told the bytes of weights as they are written.
    :raises LfmError: when that is not possible; the message says why.
    """
    folder = find_model(model, variant)
    _check(folder, out, wishes)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        _check_room(folder, staging, wishes)
        seconds = PREPARE_TIMES * opening_seconds(folder.files)
        with limited(seconds, f'the model {folder.root}'):
            report = _write(folder, staging, wishes, progress)
        staging.chmod(0o755)
        os.replace(staging, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def _check(folder: ModelFolder, out: Path, wishes: Wishes) -> None:
    if not 2 <= wishes.slots <= MOST_SLOTS:
        raise LfmError(ErrorCode.INVALID_VALUE, f'{wishes.slots} missions in one call are not '
                       f'possible: set --slots between 2 and {MOST_SLOTS}')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LfmError(ErrorCode.INVALID_VALUE, f'{out} exists and is not an empty folder: give '
                       'another one')
    if read_note(load(folder.graph)):
        raise LfmError(ErrorCode.UNSUPPORTED, f'{folder.root} is prepared: run it as it is, or '
                       'prepare the model from which it was made')


def _check_room(folder: ModelFolder, parent: Path, wishes: Wishes) -> None:
    size = sum(p.stat().st_size for p in folder.files)
    needed = size * (3 if wishes.prefill else 1) + (1 << 20)
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise LfmError(ErrorCode.STORAGE_FAILED, f'the prepared model needs {needed / 1e6:,.0f} '
                       f'MB and {free / 1e6:,.0f} MB are free: free some, or give another folder')


def _unwritable(out: Path, error: OSError) -> LfmError:
    return LfmError(ErrorCode.STORAGE_FAILED, f'{out} cannot be written ({error.strerror}): '
                    'free space, or give another folder')


def _write(folder: ModelFolder, target: Path, wishes: Wishes,
           progress: Callable[[int], None]) -> Report:
    text = Text.read(folder, wishes.text) if wishes.kv or wishes.prefill else None
    graph = load(folder.graph)
    report = Report(edit_before_attention(graph, wishes.portable))
    if wishes.kv:
        assert text
        reason = calibrated(graph, folder, text)
        if reason:
            raise LfmError(ErrorCode.UNSUPPORTED, 'keys and values of this graph cannot be kept '
                           f'in 8 bits, {reason}: leave out --kv')
        report.edits['kv'] = APPLIED
    if wishes.prefill:
        second = prefill.in_eight_bits(graph, folder.graph.parent)
        reason = second if isinstance(second, str) else ''
        if isinstance(second, Graph):
            add_long(second)  # where keys and values are kept in 8 bits
            write(second, folder.graph.parent, target / PREFILL_GRAPH, progress)
        if reason:
            raise LfmError(ErrorCode.UNSUPPORTED, 'there is no faster prefill for this graph, '
                           f'{reason}: leave out --prefill')
        report.edits['prefill'] = APPLIED
    report.edits['company'] = add_company(graph, wishes.slots) or APPLIED
    if wishes.kv:
        report.edits['long'] = add_long(graph) or APPLIED
    _put(graph, folder.graph.parent, target / DECODER_GRAPH, progress)
    before = _prove(folder, target, wishes)
    if text:
        _measure(folder, before, target, text, report)
    write_note(graph, report.edits, wishes.slots, kv=report.kv or '',
               prefill=report.prefill or '')
    (target / DECODER_GRAPH).write_bytes(graph.model.SerializeToString())
    _put_rest(folder, target, progress)
    report.files = {p.name: p.stat().st_size for p in sorted(target.iterdir())}
    return report


def _prove(folder: ModelFolder, target: Path, wishes: Wishes) -> Path:
    """
    Run a few ids through the new graph; where it should say the same, compare.

    :returns: the graph that says what the model says: the new one, where this ONNX Runtime is too
        old for that of the model.
    """
    found = sample(open_trial(target / DECODER_GRAPH, folder))
    if wishes.kv:
        return folder.graph
    try:
        expected = sample(open_trial(folder.graph, folder))
    except LfmError as error:
        if error.code != ErrorCode.RUNTIME_TOO_OLD:
            raise
        return target / DECODER_GRAPH
    if not np.allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max()):
        raise LfmError(ErrorCode.INTERNAL, f'the graph {folder.graph} does not say the same when '
                       'it is edited: run it as it is, and report this')
    return folder.graph


def _measure(folder: ModelFolder, before: Path, target: Path, text: Text,
             report: Report) -> None:
    """Tell what lossy edits cost, on the part of the text that nothing was calibrated with."""
    if 'kv' in report.edits:
        report.kv = {'type': INT8, **compare(folder, before, target / DECODER_GRAPH, text)}
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
    """Let genai_config.json name the graphs as they are called here."""
    content = json.loads(settings.read_text(encoding='utf-8'))
    for part, name in names.items():
        entry = content.get('model', {}).get(part)
        if isinstance(entry, dict) and 'filename' in entry:
            entry['filename'] = name
    settings.write_text(json.dumps(content, indent=4, ensure_ascii=False) + '\n',
                        encoding='utf-8')
