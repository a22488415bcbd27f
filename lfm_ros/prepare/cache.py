# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the graphs of a model on disk as this machine runs them best."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
import fcntl
import hashlib
import json
import logging
import os
from pathlib import Path
import shutil
from tempfile import mkdtemp
from typing import Any

from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.files.graph_names import EMBEDDING_GRAPH
from lfm_ros.engine.files.graph_names import PREFILL_GRAPH
from lfm_ros.engine.files.graph_names import VISION_GRAPH
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.opening_limit import limited
from lfm_ros.engine.runtime.opening_limit import opening_seconds
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
from lfm_ros.files import open_file
from lfm_ros.prepare import DEFAULT_LANES
from lfm_ros.prepare import VERSION
from lfm_ros.prepare.files import sync
from lfm_ros.prepare.machine_id import device_names
from lfm_ros.prepare.machine_id import machine
from lfm_ros.prepare.manifest import damage
from lfm_ros.prepare.manifest import digest
from lfm_ros.prepare.manifest import read_manifest
from lfm_ros.prepare.manifest import write_manifest

_log = logging.getLogger(__name__)
_BUILDING = '.building-'


class _NoSpace(Exception):
    """There is not enough free space for an entry."""


class _Refused(Exception):
    """This graph cannot be prepared, now or later."""


def ready(folder: ModelFolder, cache_dir: Path, lanes: int = DEFAULT_LANES,
          make: bool = True, provider: str = CPU, options: Mapping[str, str] | None = None
          ) -> Path | None:
    """
    Return a folder with the graphs of a model, edited and optimised for this very machine.

    Open them with ``open_session(..., prepacked=True)`` on that provider. They are made when they
    are missing; later calls find them, unless model, machine, ONNX Runtime or the files in the
    cache have changed. Processes that prepare the same model wait for each other.

    :param lanes: missions that can be decoded in one run.
    :param make: whether to make them when they are missing.
    :param provider: that will run them, with these options.
    :returns: None when there are none, for a reason that is logged; open the model as it is then.
    """
    what = _describe(folder, lanes)
    if provider != CPU:
        what.update(provider=provider, options=dict(options or {}), device=device_names())
    entry = cache_dir / _name(what)
    try:
        if entry.is_dir() and not damage(entry):
            return _unless_refused(entry)
        if not make:
            return None
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(cache_dir):
            return _find_or_make(folder, entry, what)
    except _NoSpace as error:
        reason, advice = str(error), 'free some, or set another cache folder'
    except OSError as error:
        reason, advice = f'{error.strerror or error}', 'make it writable, or set another one'
    except LfmError as error:  # it will be raised when the model is opened
        _log.debug(f'{folder.name} is not prepared: {error.message}')
        return None
    except ImportError as error:
        reason, advice = f'the Python package {error.name} is missing', 'install it, or set ' \
            'model.prepare to false'
    except _Refused as error:
        _log.info(f'{folder.name} is opened as it is: its graph cannot be prepared ({error})')
        return None
    _log.warning(f'{folder.name} is opened as it is, slower to start and larger in memory: its '
                 f'prepared graphs cannot be kept in {cache_dir} ({reason}): {advice}')
    return None


def _find_or_make(folder: ModelFolder, entry: Path, what: dict[str, Any]) -> Path:
    from lfm_ros.prepare.build import make_entry  # takes 0.2 s, and onnx, which may be missing
    from lfm_ros.prepare.build import needed_bytes
    problem = ''
    if entry.exists():
        problem = damage(entry)
        if not problem:
            return _unless_refused(entry)  # another process was faster
        _log.info(f'the prepared graphs of {folder.name} in {entry} are damaged ({problem}) and '
                  'rebuilt')
    for stale in entry.parent.glob(f'{_BUILDING}*'):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    _drop_outdated(entry, what)
    others = _others(folder)
    _check_fits(needed_bytes(folder, others), entry.parent)
    staging = Path(mkdtemp(prefix=_BUILDING, dir=entry.parent))
    try:
        try:
            with limited(opening_seconds(folder.files), f'the model {folder.root}'):
                make_entry(folder, others, staging, what)
        except (LfmError, OSError, MemoryError):
            raise
        except Exception as error:  # ONNX Runtime raises a different class for every status
            if 'provider' in what and not isinstance(error, ValueError):
                # Of the driver, say: it may be there the next time.
                raise LfmError(ErrorCode.PROVIDER_UNAVAILABLE, quote(error)) from error
            _refuse(staging, what, quote(error))
        if entry.exists():
            shutil.rmtree(entry)
        staging.rename(entry)
        sync(entry.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _unless_refused(entry)


def _refuse(entry: Path, what: dict[str, Any], reason: str) -> None:
    """Note that a graph cannot be prepared, or every start would try again."""
    if 'alloc' in reason or 'o space' in reason:
        raise LfmError(ErrorCode.OUT_OF_MEMORY, reason)  # next time there may be enough
    for file in entry.iterdir():
        file.unlink()
    write_manifest(entry, {**what, 'refused': reason})


def _unless_refused(entry: Path) -> Path:
    refused = read_manifest(entry).get('refused')
    if refused:
        raise _Refused(refused)
    return entry


def _others(folder: ModelFolder) -> dict[str, Path]:
    """Return the graphs of a model beside the decoder, by the name that they get."""
    prefill = folder.graph.with_name(PREFILL_GRAPH)
    found = {PREFILL_GRAPH: prefill if prefill.is_file() else None,
             EMBEDDING_GRAPH: folder.embedding,
             VISION_GRAPH: folder.vision if folder.embedding else None}
    return {name: path for name, path in found.items() if path}


def _describe(folder: ModelFolder, lanes: int) -> dict[str, Any]:
    """Return all on which an entry depends, and where its model lies."""
    prefill = _others(folder).get(PREFILL_GRAPH)
    return {'model': folder.fingerprint, 'prefill': digest(prefill) if prefill else '',
            'path': str(folder.graph.absolute()), 'graph': folder.graph.name,
            'edits': VERSION, 'machine': machine(), 'slots': lanes}


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
            known.get(part) != what.get(part)
            for part in ('machine', 'edits', 'prefill', 'device')) and \
            known.get('provider') == what.get('provider')
        if known and (here or same):
            shutil.rmtree(other, ignore_errors=True)


def _check_fits(needed: int, cache_dir: Path) -> None:
    free = shutil.disk_usage(cache_dir).free
    if free < needed:
        raise _NoSpace(f'{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free')


@contextmanager
def _locked(cache_dir: Path) -> Iterator[None]:
    """Wait until no other process makes an entry."""
    with open(open_file(cache_dir / '.lock', os.O_CREAT | os.O_RDWR), 'rb') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: at worst an entry is made twice
            pass
        yield
