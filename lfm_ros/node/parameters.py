# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node: what it means, its range and when it counts."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfm_ros.engine.model import DEFAULT_CONTEXT
from lfm_ros.engine.model import ModelOptions
from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.sampling import Sampling
from lfm_ros.engine.session import CPU
from lfm_ros.engine.vision import FOR_EVER
from lfm_ros.errors import LfmError
from lfm_ros.missions.keeping import Keeping
from lfm_ros.missions.overflow import POLICIES as OVERFLOW
from lfm_ros.missions.overflow import REFUSE
from lfm_ros.missions.queue import POLICIES
from lfm_ros.missions.queue import REJECT
from lfm_ros.missions.request import DEFAULT_MISSION
from lfm_ros.missions.request import LONGEST_TIMEOUT
from lfm_ros.missions.request import MOST_TOKENS
from lfm_ros.missions.scheduler import Defaults
from lfm_ros.node.camera import Camera
from lfm_ros.node.host import Preparing
from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

_MODEL_ASKS = 'negative: as the model asks (generation_config.json, else its model card)'


@dataclass(frozen=True)
class Spec:
    """
    One parameter.

    :param low: lowest value, ``high`` the highest; None: no range.
    :param live: whether it may change while a model is open.
    :param fixed: whether it cannot change after the start of the node.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] = ()
    live: bool = False
    fixed: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows."""
        when = 'Fixed at start.' if self.fixed else \
            'May change at any time.' if self.live else 'Read at configure.'
        found = ParameterDescriptor(description=f'{self.description}. {when}',
                                    read_only=self.fixed)
        if self.choices:
            found.additional_constraints = 'one of: ' + ', '.join(self.choices)
        if self.low is None or self.high is None:
            return found
        if isinstance(self.default, float):
            found.floating_point_range = [
                FloatingPointRange(from_value=float(self.low), to_value=float(self.high))]
        else:
            found.integer_range = [IntegerRange(
                from_value=int(self.low), to_value=int(self.high), step=1)]
        return found


SPECS = (
    Spec('autostart', True, 'Configure and activate by itself; false when a lifecycle manager '
         'does that', fixed=True),
    Spec('bond_heartbeat_period', 0.1, 'Seconds between two heartbeats for a lifecycle manager '
         'that makes bonds, as that of Nav2; needs the package bondpy; 0: none', 0.0, 2.0),
    Spec('model.path', '', "Folder of an ONNX export of LFM2, or 'demo' for the small model in "
         'this package'),
    Spec('model.variant', '', 'Which graph of the folder: q4, q8, fp32, fp16, ... or a file name; '
         'empty: what a CPU runs best'),
    Spec('model.providers', [CPU], 'ONNX Runtime execution providers, the preferred one first'),
    Spec('model.fallback', True, 'Run on the next provider of model.providers, and in the end on '
         'the CPU, when one cannot be used; false: refuse to open the model then'),
    Spec('model.run_timeout', ModelOptions.run_timeout, 'Seconds that one call of the model (a '
         'token, a piece of a prompt, a tile of an image) may take before it is ended and its '
         'turn undone; when it cannot be ended, the node ends itself with exit code 75; 0: any',
         0.0, LONGEST_TIMEOUT),
    Spec('model.threads', 0, 'Threads inside one operator; 0: one per core', 0, 256),
    Spec('model.spinning', True, 'Let threads wait for each other without giving up their core: '
         'faster on a robot with cores to spare, much slower where other nodes need them'),
    Spec('model.arena', True, 'Keep the memory of a call of the model for the next one, and that '
         'of a prompt until it is read; false: prompts are read more slowly'),
    Spec('model.context_length', DEFAULT_CONTEXT, 'Most tokens of one mission; 0: as many as the '
         'model was made for', 0, 1 << 20),
    Spec('model.prefill_chunk', 64, 'Tokens of a prompt that are read in one call; fewer need '
         'less memory, more are slightly faster', 1, 4096),
    Spec('model.prepare', True, 'Make the graphs of the model ready for this machine, once: it '
         'then opens faster, its weights are mapped and not copied, and several missions are '
         'answered together. Takes up to three times the size of the model on disk'),
    Spec('model.cache_dir', '', 'Folder in which prepared graphs are kept; empty: '
         '~/.cache/lfm_ros'),
    Spec('model.prompt_lookup', True, 'Guess the next tokens of an answer from what stood in the '
         'mission before and check several at once: answers that repeat names come faster'),
    Spec('model.preload_formats', False, 'Start the process that compiles response_format and '
         'tools at configure: it takes 80 MB with 65,536 tokens; otherwise the first such request '
         'starts it and waits a second longer'),
    Spec('missions.system_prompt', '', 'What every mission begins with; empty: what the chat '
         'template puts there'),
    Spec('missions.dir', '', 'Folder in which missions outlive the node; empty: they end with it'),
    Spec('missions.key_file', '', 'File with the key with which all in missions.dir is encrypted, '
         'made by openssl rand -base64 32 and readable by its owner only; empty: nothing is'),
    Spec('missions.strict_permissions', False, 'Refuse to start when others may write to '
         'missions.dir or to something in it, or own it; false: warn'),
    Spec('missions.overflow', REFUSE, 'When the context of a mission is full: '
         + '; '.join(f'{name}: {text}' for name, text in OVERFLOW.items()),
         choices=tuple(OVERFLOW)),
    Spec('missions.checkpoint_turns', Keeping.checkpoint_turns, 'Turns after which the state of a '
         'mission is written to missions.dir. 1: coming back reads nothing again, and each turn '
         'writes its keys and values; 0: never because of turns', 0, 1_000_000),
    Spec('missions.checkpoint_idle', Keeping.checkpoint_idle, 'Seconds without a request after '
         'which states are written to missions.dir; 0: never because of idleness',
         0.0, LONGEST_TIMEOUT),
    Spec('missions.expire_after', 0.0, 'Seconds after which a mission that nobody used is '
         'deleted, counting only time in which the node runs; 0: never', 0.0, 1e9),
    Spec('missions.never_expire', [DEFAULT_MISSION], 'Names of missions that never expire, with '
         '* and ? as in a shell'),
    Spec('memory.budget_mb', 0, 'Most memory (RSS) in MiB of the node and the processes that it '
         'starts: missions are put aside and come back, requests that do not fit are refused; 0: '
         'no limit', 0, 1 << 20),
    Spec('missions.max_count', 64, 'Most missions at once', 1, 1_000_000),
    Spec('image.variant', '', 'Which vision encoder of the folder: q8, fp16, fp32, ... or a file '
         'name; empty: 8 bits, else full precision'),
    Spec('image.max_tokens', 0, 'Most tokens that one image may take, its tiles included: fewer '
         'are faster and see less; 0: as many as the model was made for', 0, 1 << 16),
    Spec('image.tiling', True, 'Cut large images into tiles, where the model does that: it sees '
         'small things, and takes several times longer'),
    Spec('image.max_age', 1.0, 'Most seconds that a camera frame may be old when a question asks '
         'for it; 0: any', 0.0, LONGEST_TIMEOUT),
    Spec('image.wait', 2.0, 'Seconds to wait for a camera frame', 0.0, LONGEST_TIMEOUT),
    Spec('image.camera_keep_alive', 5.0, 'Seconds for which the camera stays subscribed after its '
         'last use, which costs CPU time; negative: always', -1.0, LONGEST_TIMEOUT),
    Spec('image.encoder_keep_alive', FOR_EVER, 'Seconds for which the vision encoder stays in '
         'memory after its last use; negative: always', -1.0, LONGEST_TIMEOUT),
    Spec('queue.size', 8, 'Requests that may wait while another is answered', 0, 10_000),
    Spec('queue.policy', REJECT, 'When the queue is full: '
         + '; '.join(f'{name}: {text}' for name, text in POLICIES.items()),
         choices=tuple(POLICIES)),
    Spec('queue.parallel', 4, 'Most answers to different missions that are written together, as '
         'far as the model can step together; 1: one after the other', 1, 64),
    Spec('queue.timeout', 120.0, 'Seconds from the arrival of a request to the end of its '
         'answer, where the request does not say; 0: no limit', 0.0, LONGEST_TIMEOUT, live=True),
    Spec('sampling.max_tokens', 256, 'Longest answer in tokens, where the request does not say',
         1, MOST_TOKENS, live=True),
    Spec('sampling.temperature', -1.0, f'0 is greedy, higher is more varied; {_MODEL_ASKS}',
         -1.0, RANGES['temperature'][1], live=True),
    Spec('sampling.top_k', -1, f'Only the k most likely tokens, 0: all; {_MODEL_ASKS}',
         -1, RANGES['top_k'][1], live=True),
    Spec('sampling.top_p', -1.0, 'Only the most likely tokens that together reach this '
         f'probability, 1: all; {_MODEL_ASKS}', -1.0, RANGES['top_p'][1], live=True),
    Spec('sampling.min_p', -1.0, 'Only tokens at least so many times as likely as the best, '
         f'0: all; {_MODEL_ASKS}', -1.0, RANGES['min_p'][1], live=True),
    Spec('sampling.repetition_penalty', -1.0, 'How much less likely tokens of the context '
         f'become, 1: off; {_MODEL_ASKS}', -1.0, RANGES['repetition_penalty'][1], live=True),
    Spec('sampling.seed', -1, 'The same seed gives the same answer; negative: another one each '
         'time', -1, (1 << 63) - 1, live=True),
)
BY_NAME = {spec.name: spec for spec in SPECS}


def declare(node: Node) -> None:
    """Declare all parameters."""
    for spec in SPECS:
        node.declare_parameter(spec.name, spec.default, spec.descriptor())


def is_given(node: Node, name: str) -> bool:
    """Tell whether somebody has set a parameter, be it to its default."""
    return name in node._parameter_overrides or _value(node, name) != BY_NAME[name].default


def refusal(node: Node, parameters: Sequence[Parameter], configured: bool) -> str:
    """Return why these parameters cannot be set, or an empty string."""
    for parameter in parameters:
        spec = BY_NAME.get(parameter.name)
        same = node.has_parameter(parameter.name) and \
            _value(node, parameter.name) == parameter.value
        if spec is None or same:  # a parameter file may be loaded again
            continue
        if configured and not spec.live:
            return f'{spec.name} is read at configure: deactivate and clean up the node first'
        if spec.choices and parameter.value not in spec.choices:
            return f"{spec.name} is '{parameter.value}': choose {' or '.join(spec.choices)}"
        value, name = parameter.value, spec.name.removeprefix('sampling.')
        if name in RANGES and isinstance(value, (float, int)):
            try:
                Sampling().changed({name: value})
            except LfmError as error:
                return f'sampling.{error.message}'
        if isinstance(value, float) and spec.low is not None and not value >= spec.low:
            return f'{spec.name} is {value}: set it between {spec.low:g} and {spec.high:g}'
    return ''


def model_options(node: Node) -> ModelOptions:
    """Return how the parameters want the model opened."""
    return ModelOptions(
        variant=_value(node, 'model.variant'), providers=list(_value(node, 'model.providers')),
        fallback=_value(node, 'model.fallback'), run_timeout=_value(node, 'model.run_timeout'),
        threads=_value(node, 'model.threads'),
        spinning=_value(node, 'model.spinning'), arena=_value(node, 'model.arena'),
        context_length=_value(node, 'model.context_length'),
        prefill_chunk=_value(node, 'model.prefill_chunk'),
        prompt_lookup=_value(node, 'model.prompt_lookup'),
        preload_formats=_value(node, 'model.preload_formats'),
        image_variant=_value(node, 'image.variant'),
        image_tokens=_value(node, 'image.max_tokens'),
        image_tiling=_value(node, 'image.tiling'),
        encoder_keep_alive=_value(node, 'image.encoder_keep_alive'))


def preparing(node: Node) -> Preparing:
    """Return whether and where graphs are made ready."""
    return Preparing(_value(node, 'model.prepare'), _value(node, 'model.cache_dir'))


def camera(node: Node) -> Camera:
    """Return the camera as the parameters want it."""
    return Camera(node, _value(node, 'image.max_age'), _value(node, 'image.wait'),
                  _value(node, 'image.camera_keep_alive'))


def keeping(node: Node) -> Keeping:
    """Return how the parameters want missions kept."""
    return Keeping(
        most=_value(node, 'missions.max_count'), overflow=_value(node, 'missions.overflow'),
        expire=_value(node, 'missions.expire_after'),
        never_expire=tuple(_value(node, 'missions.never_expire')),
        checkpoint_turns=_value(node, 'missions.checkpoint_turns'),
        checkpoint_idle=_value(node, 'missions.checkpoint_idle'))


def defaults(node: Node, recommended: Sampling) -> Defaults:
    """
    Return what a query gets where it does not say.

    :param recommended: the sampling that the model asks for.
    """
    fields = {name: _value(node, f'sampling.{name}') for name in (*RANGES, 'seed')}
    return Defaults(recommended.changed(fields), _value(node, 'sampling.max_tokens'),
                    _value(node, 'queue.timeout'))


def _value(node: Node, name: str) -> Any:
    return node.get_parameter(name).value
