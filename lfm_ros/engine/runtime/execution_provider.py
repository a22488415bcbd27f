# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Execution providers of ONNX Runtime: those that are built in, and plugins."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import import_module
import io
import logging
import pkgutil
from typing import Any

from lfm_ros.engine.runtime.buffers import HOST
from lfm_ros.engine.runtime.buffers import HostMemory
from lfm_ros.engine.runtime.cuda_driver import is_integrated
from lfm_ros.engine.runtime.device_buffers import DeviceMemory
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
import onnxruntime

_log = logging.getLogger(__name__)

CPU = 'CPUExecutionProvider'
CUDA = 'CUDAExecutionProvider'
# Runs graphs in a cloud, and is built into every wheel.
_REMOTE = 'AzureExecutionProvider'
# Packages that hold a plugin and say where its library is, as onnxruntime-ep-openvino does.
_PLUGIN_PACKAGES = 'onnxruntime_ep_'
# Providers whose numbers are in the memory of a device, and what ONNX Runtime calls that.
DEVICES = {CUDA: 'cuda', 'CudaPluginExecutionProvider': 'cuda',
           'TensorrtExecutionProvider': 'cuda', 'NvTensorRTRTXExecutionProvider': 'cuda'}
# Of providers that can replay a run, the option with which they do.
_CAPTURE = {CUDA: 'enable_cuda_graph'}
# ONNX Runtime takes twice as much as is needed each time otherwise.
_DEFAULTS = {CUDA: {'arena_extend_strategy': 'kSameAsRequested'}}


def available_providers() -> list[str]:
    """Return the names of all providers, the fastest kinds first as ONNX Runtime orders them."""
    found = [name for name in onnxruntime.get_available_providers() if name != _REMOTE]
    plugins = [name for name in find_plugins().devices if name not in found]
    return [*plugins, *found]


def is_available(provider: str) -> bool:
    """Return whether a provider is built in, or a plugin that was found."""
    return provider in onnxruntime.get_available_providers() or provider in find_plugins().devices


def require(providers: Sequence[str], options: Mapping[str, str] | None = None) -> None:
    """
    Refuse providers that are not there, and options that the first of them cannot have.

    :raises LfmError: PROVIDER_UNAVAILABLE, INVALID_VALUE.
    """
    if options and providers and providers[0] == CPU:
        raise LfmError(ErrorCode.INVALID_VALUE, f'{CPU} has no options, and '
                       f'{", ".join(sorted(options))} is given: leave it out, or choose another '
                       'provider')
    missing = [p for p in providers if not is_available(p)]
    if missing or not providers:
        idle = find_plugins().idle
        plugins = f' ({", ".join(idle)} is installed, but finds no device here)' if idle else ''
        raise LfmError(ErrorCode.PROVIDER_UNAVAILABLE, f'this build of ONNX Runtime has no '
                       f'{", ".join(missing) or "provider of an empty list"}{plugins}: choose '
                       f'from {", ".join(available_providers())}')


@cache
def load_libraries() -> None:
    """
    Load the libraries of CUDA that pip installed beside ONNX Runtime, which does not look there.

    What is missing shows, with its name, when a session is opened.
    """
    if CUDA in onnxruntime.get_available_providers() and hasattr(onnxruntime, 'preload_dlls'):
        with redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()


@dataclass(frozen=True)
class Plugins:
    """
    The plugin providers of this machine.

    :param devices: of every provider, by its name.
    :param idle: packages whose provider finds no device here, or could not be loaded.
    """

    devices: dict[str, list[Any]]
    idle: list[str]


@cache
def find_plugins() -> Plugins:
    """Load the plugins that are installed; their packages are imported."""
    devices: dict[str, list[Any]] = {}
    idle: list[str] = []
    if not hasattr(onnxruntime, 'register_execution_provider_library'):
        return Plugins(devices, idle)  # before ONNX Runtime 1.23
    packages = [m.name for m in pkgutil.iter_modules() if m.name.startswith(_PLUGIN_PACKAGES)]
    built_in = onnxruntime.get_available_providers()
    for package in packages:
        before = len(onnxruntime.get_ep_devices())
        try:
            path = import_module(package).get_library_path()
            onnxruntime.register_execution_provider_library(package, path)
        except Exception as error:  # whatever its code and ONNX Runtime raise
            _log.warning(f'the plugin {package} cannot be loaded ({quote(str(error))}): install '
                         f'the version that fits ONNX Runtime {onnxruntime.__version__}, or '
                         'remove it')
        if len(onnxruntime.get_ep_devices()) == before:
            idle.append(package)
    for device in onnxruntime.get_ep_devices():
        if device.ep_name not in built_in:
            devices.setdefault(device.ep_name, []).append(device)
    return Plugins(devices, idle)


def parse_options(values: Sequence[str]) -> dict[str, str]:
    """
    Return the options of a provider that are given as ``name=value``.

    :raises LfmError: INVALID_VALUE.
    """
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = (part.strip() for part in text.partition('='))
        if not (name and equals and value):
            raise LfmError(ErrorCode.INVALID_VALUE, f'{text!r} is no option of a provider: write '
                           'name=value, as in gpu_mem_limit=2147483648')
        if name in found:
            raise LfmError(ErrorCode.INVALID_VALUE, f'the option {name} of the provider is given '
                           'twice: give it once')
        found[name] = value
    return found


def can_capture(providers: Sequence[str], options: Mapping[str, str]) -> bool:
    """Return whether the first of these can replay runs, and was not told not to."""
    name = _CAPTURE.get(providers[0])
    return name is not None and options.get(name, '1') not in ('0', 'False', 'false')


def memory_of(providers: Sequence[str], options: Mapping[str, str]) -> HostMemory:
    """Return where the first of these providers has its numbers."""
    kind = DEVICES.get(providers[0]) if providers else None
    if kind is None:
        return HOST
    text = options.get('device_id', '0')
    number = int(text) if text.isdecimal() else 0
    # CUDA moves rows, whatever runs the model: TensorRT would build an engine for that.
    mover = CUDA if CUDA in onnxruntime.get_available_providers() else providers[0]
    return DeviceMemory(kind, number, [*with_options([mover], {'device_id': text}), CPU],
                        separate=not is_integrated(number))


def is_device(providers: Sequence[str]) -> bool:
    """Return whether the first of these providers computes on a device, and not on the CPU."""
    return bool(providers) and providers[0] in DEVICES


def with_options(providers: Sequence[str], options: Mapping[str, str], capture: bool = False
                 ) -> list[Any]:
    """
    Return providers as a session takes them; the options are those of the first one.

    Libraries that it needs are loaded.
    """
    first, *others = providers
    if DEVICES.get(first) == 'cuda':
        load_libraries()
    given = {**_DEFAULTS.get(first, {}), **options}
    if first in _CAPTURE:
        given[_CAPTURE[first]] = str(int(capture))
    return [(first, given) if given else first, *others]


def open_on(graph: str, session_options: Any, providers: Sequence[str],
            options: Mapping[str, str], capture: bool = False) -> onnxruntime.InferenceSession:
    """
    Open a session on these providers.

    :raises Exception: what ONNX Runtime raises.
    """
    first = providers[0]
    if first in onnxruntime.get_available_providers():
        # Its own fallback prints a banner and forgets why.
        return onnxruntime.InferenceSession(
            graph, session_options, providers=with_options(providers, options, capture),
            enable_fallback=False)
    session_options.add_provider_for_devices(find_plugins().devices[first][:1], dict(options))
    return onnxruntime.InferenceSession(graph, session_options, enable_fallback=False)
