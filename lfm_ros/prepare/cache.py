# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the graphs of a model on disk as this machine runs them best."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
import gc
import hashlib
import json
import logging
import os
from pathlib import Path
import shutil
from tempfile import mkdtemp
from typing import Any

from lfm_ros.engine.folder import ModelFolder
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.company import SLOTS
from lfm_ros.prepare.edits import edit_losslessly
from lfm_ros.prepare.edits import read_note
from lfm_ros.prepare.edits import VERSION
from lfm_ros.prepare.edits import write_note
from lfm_ros.prepare.graph import Graph
from lfm_ros.prepare.graph import load
from lfm_ros.prepare.machine import machine
from lfm_ros.prepare.manifest import damage
from lfm_ros.prepare.manifest import digest
from lfm_ros.prepare.manifest import read_manifest
from lfm_ros.prepare.manifest import write_manifest
from lfm_ros.prepare.optimize import remove
from lfm_ros.prepare.optimize import save_optimized
from lfm_ros.prepare.trial import open_trial
from lfm_ros.prepare.trial import sample
from lfm_ros.prepare.weights import external_files
import numpy as np

# The files of an entry; all but the first may be missing.
DECODER = 'model.onnx'
PREFILL = 'prefill.onnx'
EMBEDDING = 'embedding.onnx'
VISION = 'vision.onnx'

_log = logging.getLogger(__name__)
_BUILDING = '.building-'
_SPARE = 64 << 20  # bytes


class _NoRoom(Exception):
    """There is not enough space for an entry."""


class _Refused(Exception):
    """This graph cannot be prepared, and will not be when it is tried again."""


def ready(folder: ModelFolder, cache_dir: Path, slots: int = SLOTS,
          make: bool = True) -> Path | None:
    """
    Return a folder with the graphs of a model, edited and optimised for this very machine.

    They are to be opened with ``open_session(..., prepacked=True)`` on the CPU. They are made
    when they are not there; later calls find them, unless model, machine, ONNX Runtime or the
    files in the cache have changed. Processes that ask at once wait for each other.

    :param slots: missions that can decode in one call.
    :param make: whether to make them when they are not there.
    :returns: None when there are none, which is said in the log; the model is to be opened as
        it is then.
    """
    what = _describe(folder, slots)
    entry = cache_dir / _name(what)
    try:
        if entry.is_dir() and not damage(entry):
            return _unless_refused(entry)
        if not make:
            return None
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(cache_dir):
            return _find_or_make(folder, entry, what)
    except _NoRoom as error:
        reason, advice = str(error), 'free some, or set another cache folder'
    except OSError as error:
        reason, advice = f'{error.strerror or error}', 'make it writable, or set another one'
    except LfmError as error:  # it will be said when the model is opened
        _log.debug(f'{folder.name} is not prepared: {error.message}')
        return None
    except _Refused as error:
        _log.info(f'{folder.name} is opened as it is: its graph cannot be prepared ({error})')
        return None
    _log.warning(f'{folder.name} is opened as it is, slower to start and larger in memory: its '
                 f'prepared graphs cannot be kept in {cache_dir} ({reason}): {advice}')
    return None


def _find_or_make(folder: ModelFolder, entry: Path, what: dict[str, Any]) -> Path:
    problem = ''
    if entry.exists():
        problem = damage(entry)
        if not problem:
            return _unless_refused(entry)  # another process was faster
        _log.info(f'the prepared graphs of {folder.name} in {entry} are damaged ({problem}) and '
                  'made again')
    for stale in entry.parent.glob(f'{_BUILDING}*'):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    _drop_outdated(entry, what)
    _check_room(folder, entry.parent)
    staging = Path(mkdtemp(prefix=_BUILDING, dir=entry.parent))
    try:
        try:
            _make(folder, staging, what)
        except (LfmError, OSError, MemoryError):
            raise
        except Exception as error:  # ONNX Runtime raises a different class for every status
            _refuse(staging, what, ' '.join(str(error).split())[:300])
        if entry.exists():
            shutil.rmtree(entry)
        staging.rename(entry)
        _sync(entry.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _unless_refused(entry)


def _refuse(entry: Path, what: dict[str, Any], reason: str) -> None:
    """Note that a graph cannot be prepared, or it would be tried at every start."""
    if 'alloc' in reason or 'o space' in reason:
        raise LfmError(ErrorCode.OUT_OF_MEMORY, reason)  # next time there may be enough
    remove(p for p in entry.iterdir() if p.is_file())
    write_manifest(entry, {**what, 'refused': reason})


def _unless_refused(entry: Path) -> Path:
    refused = read_manifest(entry).get('refused')
    if refused:
        raise _Refused(refused)
    return entry


def _make(folder: ModelFolder, target: Path, what: dict[str, Any]) -> None:
    decoder = load(folder.graph)
    if not read_note(decoder):
        write_note(decoder, edit_losslessly(decoder, what['slots']), what['slots'])
    _make_proved(folder, folder.graph, decoder, target / DECODER)
    for name, graph in _others(folder).items():
        try:
            if name == PREFILL:
                _make_proved(folder, graph, load(graph), target / name)
            else:
                save_optimized(load(graph), graph.parent, target / name, prepacked=False)
        except Exception as error:  # as above; this one is opened as it is then
            _log.debug(f'{graph} cannot be prepared: {error}')
            remove([target / name, target / f'{name}.data'])
    write_manifest(target, what)
    for file in target.iterdir():
        _sync(file)
    _sync(target)


def _make_proved(folder: ModelFolder, source: Path, graph: Graph, target: Path) -> None:
    """
    Write a graph of the decoder, and see that it says what it said before.

    :raises ValueError: when it does not.
    """
    expected, reuse = _expected(folder, source, graph, target)
    gc.collect()  # or there would be two models in memory
    save_optimized(graph, source.parent, target, reuse)
    try:
        found = sample(open_trial(target, folder, prepacked=True))
    except LfmError as error:
        raise ValueError(error.message) from error
    if not np.allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max()):
        raise ValueError('the prepared graph does not give the same numbers')


def _expected(folder: ModelFolder, source: Path, graph: Graph,
              target: Path) -> tuple[np.ndarray, bool]:
    """
    Return what a graph says before it is optimised, and whether it can reuse memory in a run.

    Where ONNX Runtime is too old for the graph as it was, what was edited has to do.
    """
    try:
        trial = open_trial(source, folder)
    except LfmError as error:
        if error.code != ErrorCode.RUNTIME_TOO_OLD:
            raise
        plain = target.with_name(f'plain-{target.name}')
        save_optimized(graph, source.parent, plain, prepacked=False)
        trial = open_trial(plain, folder, prepacked=True)
        remove([plain, Path(f'{plain}.data')])
    return sample(trial), trial.session.get_session_options().enable_mem_reuse


def _others(folder: ModelFolder) -> dict[str, Path]:
    """Return the graphs of a model beside the decoder, by the name that they get."""
    prefill = folder.graph.with_name(PREFILL)
    found = {PREFILL: prefill if prefill.is_file() else None,
             EMBEDDING: folder.embedding, VISION: folder.vision if folder.embedding else None}
    return {name: path for name, path in found.items() if path}


def _describe(folder: ModelFolder, slots: int) -> dict[str, Any]:
    """Return all on which an entry depends, and where its model lies."""
    prefill = _others(folder).get(PREFILL)
    return {'model': folder.fingerprint, 'prefill': digest(prefill) if prefill else '',
            'path': str(folder.graph.absolute()), 'graph': folder.graph.name,
            'edits': VERSION, 'machine': machine(), 'slots': slots}


def _name(what: dict[str, Any]) -> str:
    key = {name: value for name, value in what.items() if name != 'path'}
    tail = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{what['model'][:16]}-{tail[:16]}"


def _drop_outdated(entry: Path, what: dict[str, Any]) -> None:
    """Delete entries of the same model, or of what lay in its place, that fit no more."""
    for other in entry.parent.iterdir():
        known = read_manifest(other) if other.is_dir() and other != entry else {}
        here = known.get('path') == what['path'] and known.get('model') != what['model']
        same = known.get('model') == what['model'] and any(
            known.get(part) != what[part] for part in ('machine', 'edits', 'prefill'))
        if known and (here or same):
            shutil.rmtree(other, ignore_errors=True)


def _check_room(folder: ModelFolder, cache_dir: Path) -> None:
    graphs = [folder.graph, *_others(folder).values()]
    size = sum(p.stat().st_size for g in graphs for p in
               (g, *(g.parent / f for f in external_files(load(g)))) if p.is_file())
    needed = 5 * size // 2 + _SPARE  # kernels want most weights in another form beside the first
    free = shutil.disk_usage(cache_dir).free
    if free < needed:
        raise _NoRoom(f'{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free')


@contextmanager
def _locked(cache_dir: Path) -> Iterator[None]:
    """Wait until no other process makes an entry."""
    with (cache_dir / '.lock').open('a') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: at worst an entry is made twice
            pass
        yield


def _sync(path: Path) -> None:
    """Let what was written reach the disk, or a power cut would leave files of zeros."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
