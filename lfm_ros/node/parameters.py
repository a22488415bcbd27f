# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node as it got them: declared, checked, and read as options of its parts."""
from __future__ import annotations

from array import array
from collections.abc import Sequence
from difflib import get_close_matches
import os
from pathlib import Path
from typing import Any

from lfm_ros.cpu import parse_cores
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.runtime.execution_provider import parse_options
from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.vision.mono16 import parse_range
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.errors import quote
from lfm_ros.node.camera import Camera
from lfm_ros.node.model_runtime import PrepareConfig
from lfm_ros.node.model_runtime import StorageConfig
from lfm_ros.node.parameter_specs import BY_NAME
from lfm_ros.node.parameter_specs import SPECS
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

_SIMILAR = 0.6  # of difflib: more is more alike


def declare(node: Node) -> None:
    """
    Declare all parameters, and warn about those that were given and are none of this node.

    :raises ParameterException: for a value that a parameter cannot have.
    """
    given = node._parameter_overrides
    for spec in SPECS:
        default = missions_dir(node) if spec.name == 'missions.dir' else spec.default
        if spec.name not in given:
            node.declare_parameter(spec.name, default, spec.descriptor())
            continue
        given[spec.name] = wanted = accept(given[spec.name])
        if wanted.value is None:
            raise InvalidParameterValueException(
                spec.name, None, f'{spec.name} has no value: give it one, or leave it out')
        empty = _plain(wanted.value) == []  # rclpy would take it for a list of bytes
        node.declare_parameter(spec.name, default, spec.descriptor(), ignore_override=empty)
        if empty and not (result := node.set_parameters([wanted])[0]).successful:
            raise InvalidParameterValueException(spec.name, [], result.reason)
    _warn_of_unknown(node)


def missions_dir(node: Node) -> str:
    """Return where a node keeps its missions unless it is told otherwise: one folder for each."""
    home = os.environ.get('ROS_HOME') or '~/.ros'
    # A dot cannot be in a name, so no two nodes have the same folder.
    name = node.get_fully_qualified_name().strip('/').replace('/', '.')
    return str(Path(home, 'lfm_ros', 'missions', name))


def accept(parameter: Parameter) -> Parameter:
    """
    Return a parameter as it was meant.

    In YAML 60 is no double, 4 is no text, and an empty list has no type (or any).
    """
    spec, value = BY_NAME.get(parameter.name), parameter.value
    if spec is None:
        return parameter
    kind = type(spec.default)
    if kind is list and _plain(value) in (None, []):
        numbers = isinstance(spec.default[0], int)
        return Parameter(parameter.name, Parameter.Type.INTEGER_ARRAY if numbers
                         else Parameter.Type.STRING_ARRAY, [])
    if kind in (float, str) and type(value) is int:
        return Parameter(parameter.name, value=kind(value))
    return parameter


def _plain(value: Any) -> Any:
    """Return a value that can be compared: numbers from a message are in an array."""
    return list(value) if isinstance(value, (array, tuple)) else value


def _warn_of_unknown(node: Node) -> None:
    """Name what was given and counts for nothing, with what may be meant."""
    known = list(node._parameters)
    for name in node._parameter_overrides:
        if name in known or name.startswith('qos_overrides.'):
            continue
        close = get_close_matches(name, known, 1, _SIMILAR)
        hint = f': do you mean {close[0]}?' if close else ''
        node.get_logger().warning(f"there is no parameter '{quote(name)}', it is ignored{hint}")


def is_given(node: Node, name: str) -> bool:
    """Return whether a parameter was set, be it to its default."""
    return name in node._parameter_overrides or _value(node, name) != BY_NAME[name].default


def check_changes(node: Node, parameters: Sequence[Parameter], configured: bool) -> str:
    """Return why these parameters cannot be set, or an empty string."""
    for parameter in parameters:
        spec = BY_NAME.get(parameter.name)
        same = node.has_parameter(parameter.name) and \
            _plain(_value(node, parameter.name)) == _plain(parameter.value)
        if spec is None or same:  # a parameter file may be loaded again
            continue
        if _plain(parameter.value) == [] and spec.name == 'model.providers':
            return 'model.providers is empty: name a provider, or auto for the fastest one'
        if configured and not spec.live:
            return f'{spec.name} is read at configure: deactivate and clean up the node first'
        if spec.choices and parameter.value not in spec.choices:
            return f"{spec.name} is '{parameter.value}': choose {' or '.join(spec.choices)}"
        value, name = parameter.value, spec.name.removeprefix('sampling.')
        if name in RANGES and isinstance(value, (float, int)):
            try:
                Sampling().with_overrides({name: value})
            except LfmError as error:
                return f'sampling.{error.message}'
        try:
            if name == 'model.provider_options':
                parse_options([text for text in value if text])
            elif name == 'model.cores':
                _cores(value)
            elif name == 'image.mono16_range':
                parse_range(value)
        except LfmError as error:
            return f'{name}: {error.message}'
        if isinstance(value, float) and spec.low is not None and not value >= spec.low:
            return f'{spec.name} is {value}: set it between {spec.low:g} and {spec.high:g}'
    return ''


def _cores(text: str) -> tuple[int, ...]:
    try:
        return parse_cores(text)
    except ValueError as error:
        raise LfmError(ErrorCode.INVALID_VALUE, str(error)) from error


def model_options(node: Node) -> ModelOptions:
    """Return how the parameters want the model opened."""
    return ModelOptions(
        variant=_value(node, 'model.variant'), providers=list(_value(node, 'model.providers')),
        provider_options=parse_options([
            text for text in _value(node, 'model.provider_options') if text]),
        max_batch_size=_value(node, 'queue.parallel'),
        fallback=_value(node, 'model.fallback'), run_timeout=_value(node, 'model.run_timeout'),
        threads=_value(node, 'model.threads'), cores=_cores(_value(node, 'model.cores')),
        spinning=_value(node, 'model.spinning'), arena=_value(node, 'model.arena'),
        context_length=_value(node, 'model.context_length'),
        prefill_chunk=_value(node, 'model.prefill_chunk'),
        prompt_lookup=_value(node, 'model.prompt_lookup'),
        preload_formats=_value(node, 'model.preload_formats'),
        image_variant=_value(node, 'image.variant'),
        image_tokens=_value(node, 'image.max_tokens'),
        image_tiling=_value(node, 'image.tiling'),
        encoder_keep_alive=_value(node, 'image.encoder_keep_alive'))


def prepare_config(node: Node) -> PrepareConfig:
    """Return whether and where graphs are made ready."""
    return PrepareConfig(_value(node, 'model.prepare'), _value(node, 'model.cache_dir'))


def camera(node: Node) -> Camera:
    """Return the camera as the parameters want it."""
    return Camera(node, _value(node, 'image.max_age'), _value(node, 'image.wait'),
                  _value(node, 'image.camera_keep_alive'), mono16_range(node))


def mono16_range(node: Node) -> tuple[int, int]:
    """Return the values that are black and white in images of 16 bits."""
    return parse_range(_value(node, 'image.mono16_range'))


def storage_config(node: Node) -> StorageConfig:
    """Return where missions may be."""
    return StorageConfig(
        _value(node, 'missions.dir'), _value(node, 'memory.budget_mb'),
        _value(node, 'memory.device_budget_mb'), _value(node, 'missions.key_file'),
        _value(node, 'missions.strict_permissions'))


def retention_policy(node: Node) -> RetentionPolicy:
    """Return how the parameters want missions kept."""
    return RetentionPolicy(
        max_missions=_value(node, 'missions.max_count'),
        overflow=_value(node, 'missions.overflow'),
        expire=_value(node, 'missions.expire_after'),
        never_expire=tuple(_value(node, 'missions.never_expire')),
        checkpoint_turns=_value(node, 'missions.checkpoint_turns'),
        checkpoint_idle=_value(node, 'missions.checkpoint_idle'))


def defaults(node: Node, default_sampling: Sampling) -> RequestDefaults:
    """
    Return what a query gets where it does not say.

    :param default_sampling: the sampling that the model asks for.
    """
    fields = {name: _value(node, f'sampling.{name}') for name in (*RANGES, 'seed')}
    return RequestDefaults(default_sampling.with_overrides(fields),
                           _value(node, 'sampling.max_tokens'),
                           _value(node, 'queue.timeout'))


def _value(node: Node, name: str) -> Any:
    return node.get_parameter(name).value
