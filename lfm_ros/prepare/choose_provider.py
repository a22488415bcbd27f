# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find the execution provider that runs a model fastest on this machine, once."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import gc
import hashlib
import json
import logging
from pathlib import Path
import statistics
import time
from typing import Any

from lfm_ros.engine.files.folder import find_model
from lfm_ros.engine.files.folder import ModelFolder
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import AUTO
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.providers import OF_PROVIDER
from lfm_ros.engine.runtime.execution_provider import available_providers
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import is_device
from lfm_ros.engine.runtime.probes import NEAR
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.files import read_file
from lfm_ros.files import replace_file
from lfm_ros.prepare.machine_id import device_names
from lfm_ros.prepare.machine_id import machine
from lfm_ros.prepare.open_model import default_cache
from lfm_ros.prepare.open_model import open_prepared
import numpy as np

_log = logging.getLogger(__name__)

FILE = 'providers.json'
_MAX_FILE_BYTES = 1 << 20
_MAX_CHOICES = 64  # kept; of models and machines
_PROMPT = 32       # tokens
_STEPS = 24        # tokens that are decoded one at a time
_WARM_UP = 8


def resolve(path: str | Path | ModelFolder, options: ModelOptions,
            cache_dir: Path | None = None, prepare: bool = True) -> ModelOptions:
    """
    Return options in which ``auto`` is replaced by providers, the fastest one first.

    Where there is more than the CPU, each decodes some tokens of the model the first time, and
    must give about the logits of the CPU, if that can run the model. What was found is kept. Those
    that are slower than the CPU are left out.

    :param cache_dir: where; None: :func:`default_cache`.
    :param prepare: whether the graphs are prepared for a provider before it is measured.
    :raises LfmError: when none can run the model; what the CPU says of it.
    """
    if AUTO not in options.providers:
        return options
    candidates = [name for name in available_providers() if name != CPU] + [CPU]
    if options.provider_options and len(candidates) == 1:
        raise LfmError(ErrorCode.INVALID_VALUE, 'options of a provider are given, and the CPU, '
                       'which is the only one here, takes none: leave them out')
    if len(candidates) == 1:
        return replace(options, providers=(CPU,))
    folders = {name: path if isinstance(path, ModelFolder) else find_model(
        path, options.variant, options.image_variant, is_device([name])) for name in candidates}
    name = folders[CPU].name
    place = (cache_dir or default_cache()) / FILE
    key = _key(folders, options, prepare)
    known = _read(place)
    speeds = known.get(key)
    if speeds is None:
        speeds = _measure_all(folders, options, cache_dir, prepare)
        _write(place, {**known, key: speeds})
        _log.info(f'{name} runs fastest on {max(speeds, key=speeds.__getitem__)}: '
                  + ', '.join(f'{each} {speed:.1f} tokens/s' for each, speed in speeds.items()))
    order = sorted(speeds, key=lambda name: -speeds[name])
    if CPU in order:  # it runs everything, so nothing is reached behind it
        del order[order.index(CPU) + 1:]
    return replace(options, providers=tuple(order), provider_options=(
        options.provider_options if order[0] != CPU else {}))


def _measure_all(folders: Mapping[str, ModelFolder], options: ModelOptions,
                 cache_dir: Path | None, prepare: bool) -> dict[str, float]:
    """
    Return tokens per second by provider, of those that can run the model and run it right.

    :param folders: the model by provider; a device may prefer other graphs of it.
    """
    speeds: dict[str, float] = {}
    expected: np.ndarray | None = None
    failure: LfmError | None = None
    for provider in (CPU, *(name for name in folders if name != CPU)):
        folder = folders[provider]
        chosen = replace(options, providers=[provider] if provider == CPU else [provider, CPU],
                         provider_options={} if provider == CPU else options.provider_options)
        try:
            model = open_prepared(folder, chosen, False, cache_dir) if prepare else \
                Model(folder, chosen, False)
            logits, speed = _measure(model)
        except LfmError as error:
            if provider == CPU and error.code not in OF_PROVIDER:
                raise
            failure = failure or LfmError(error.code, error.message)  # without what it holds
            _log.warning(f'{folder.name} does not run on {provider}: {error.message}')
            continue
        finally:
            model = None  # type: ignore[assignment]
            gc.collect()  # the next one needs the memory of this one
        if provider == CPU:
            expected = logits
        elif expected is not None and \
                not np.linalg.norm(logits - expected) <= NEAR * np.linalg.norm(expected):
            _log.warning(f'{folder.name} is not run on {provider}: its results differ too much '
                         'from those of the CPU')
            continue
        speeds[provider] = speed
    if failure and not speeds:
        raise failure
    return speeds


def _measure(model: Model) -> tuple[np.ndarray, float]:
    """Return logits ``[vocabulary]`` after a prompt, and tokens per second behind it."""
    state, runner = model.new_state(), model.runner
    count = min(_PROMPT, model.context_length - _WARM_UP - _STEPS - 1)
    logits = np.zeros(0)
    for chunk in model.chunks([3 + n % 13 for n in range(max(count, 1))]):
        logits = runner.run(state, chunk)[-1].copy()
    seconds: list[float] = []
    for step in range(min(_WARM_UP + _STEPS, model.context_length - state.position - 1)):
        started = time.monotonic()
        runner.run(state, [5])
        if step >= _WARM_UP or not seconds:
            seconds.append(time.monotonic() - started)
    return logits, 1 / max(statistics.median(seconds), 1e-9)


def _key(folders: Mapping[str, ModelFolder], options: ModelOptions, prepare: bool) -> str:
    """Return a digest of all on which the choice depends."""
    parts: list[Any] = [[folder.fingerprint for folder in folders.values()], machine(),
                        device_names(), list(folders),
                        sorted(options.provider_options.items()), options.threads, prepare]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _read(place: Path) -> dict[str, dict[str, float]]:
    """Return what was measured before; empty when there is nothing that can be read."""
    try:
        known = json.loads(read_file(place, _MAX_FILE_BYTES))
        return {key: {str(name): float(speed) for name, speed in speeds.items()}
                for key, speeds in known.items() if speeds}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _write(place: Path, known: dict[str, dict[str, float]]) -> None:
    """Keep what was measured; where that cannot be done, it is measured each time."""
    recent = dict(list(known.items())[-_MAX_CHOICES:])
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, json.dumps(recent, indent=1).encode())
    except OSError as error:
        _log.warning(f'the choice of a provider cannot be kept in {place.parent} '
                     f'({error.strerror}): make it writable, or it is measured at every start')
