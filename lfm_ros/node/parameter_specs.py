# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node: what it means, its range and when it counts."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfm_ros.conversation.context_window import POLICIES as OVERFLOW
from lfm_ros.conversation.context_window import REFUSE
from lfm_ros.engine.model_options import AUTO
from lfm_ros.engine.model_options import DEFAULT_CONTEXT
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.vision.encoder import ALWAYS
from lfm_ros.engine.vision.mono16 import AUTO as AUTO_RANGE
from lfm_ros.serving.memory_budget import AUTO_BUDGET
from lfm_ros.serving.query import DEFAULT_MISSION
from lfm_ros.serving.query import MAX_TIMEOUT
from lfm_ros.serving.query import MAX_TOKENS
from lfm_ros.serving.queue import POLICIES
from lfm_ros.serving.queue import REJECT
from lfm_ros.serving.retention import RetentionPolicy
from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor

_MODEL_ASKS = "negative: the model's default (generation_config.json, else its model card)"


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
    Spec('autostart', True, 'Configure and activate at start; set to false under a lifecycle '
         'manager', fixed=True),
    Spec('bond_heartbeat_period', 0.1, 'Seconds between heartbeats of the bond with a lifecycle '
         'manager such as that of Nav2; needs bondpy; 0: no bond', 0.0, 2.0),
    Spec('model.path', '', "Folder of an ONNX export of LFM2, or 'demo' for the small model in "
         'this package'),
    Spec('model.variant', '', 'Graph to load from the folder: q4, q8, fp32, fp16, ... or a file '
         'name; empty: the best one for a CPU'),
    Spec('model.providers', [AUTO], 'ONNX Runtime execution providers, in order of preference; '
         'auto: the fastest one, measured with this model at the first configure'),
    Spec('model.provider_options', [''], 'Options of the preferred provider as name=value, such '
         'as gpu_mem_limit=2147483648 or device_id=1'),
    Spec('model.fallback', True, 'If a provider cannot be used, fall back to the next one in '
         'model.providers and finally to the CPU; false: fail to configure instead'),
    Spec('model.run_timeout', ModelOptions.run_timeout, 'Seconds that one model run (a token, a '
         'chunk of a prompt, a tile of an image) may take before it is terminated and its turn '
         'rolled back; if it cannot be terminated, the node exits with code 75; 0: no timeout',
         0.0, MAX_TIMEOUT),
    Spec('model.threads', 0, 'Threads per operator (intra-op); 0: one per core, '
         'or as many as the container of the node may keep busy', 0, 256),
    Spec('model.cores', '', "CPU cores for the threads of the model, one on each, as '4-7' or "
         "'0,2': the fast ones of a board whose cores are not alike; empty: any"),
    Spec('model.spinning', True, 'Busy-wait (spin) between operators: faster if the robot has '
         'idle cores, much slower if other nodes need them'),
    Spec('model.arena', True, "Use ONNX Runtime's memory arena; prompt memory is released after "
         'prefill. false: less memory, slower prefill'),
    Spec('model.context_length', DEFAULT_CONTEXT, "Maximum tokens of a mission; 0: the model's "
         'maximum', 0, 1 << 20),
    Spec('model.prefill_chunk', 0, 'Prompt tokens processed per run; smaller chunks need less '
         'memory, larger ones are slightly faster; 0: 64 on a CPU, measured on a GPU', 0, 4096),
    Spec('model.prepare', True, 'Optimize the graphs for this machine at the first configure: '
         'the model then loads faster, maps its weights instead of copying them, and decodes '
         'several missions in one batch. Needs up to three times the size of the model on disk'),
    Spec('model.cache_dir', '', 'Folder for prepared graphs; empty: ~/.cache/lfm_ros'),
    Spec('model.prompt_lookup', True, 'Draft tokens from text that the mission already contains '
         'and verify several per run (prompt lookup): speeds up answers that repeat names'),
    Spec('model.preload_formats', False, 'Load the grammar engine (response_format and tools) at '
         'configure: 80 MB with 65,536 tokens; false: the first such request loads it and takes '
         'a second longer'),
    Spec('missions.system_prompt', '', 'System prompt of every mission; empty: the chat '
         "template's default"),
    Spec('missions.dir', '~/.ros/lfm_ros/missions/lfm', 'Folder in which missions are stored; by '
         'default one under $ROS_HOME (~/.ros) for each name of a node; empty: they end with the '
         'node'),
    Spec('missions.key_file', '', 'Encryption key file for missions.dir, made by openssl rand '
         '-base64 32 and readable by its owner only; empty: no encryption'),
    Spec('missions.strict_permissions', False, 'Fail to configure if other users own '
         'missions.dir or anything in it, or can write there; false: warn'),
    Spec('missions.overflow', REFUSE, 'What to do when the context of a mission is full. '
         + '; '.join(f'{name}: {text}' for name, text in OVERFLOW.items()),
         choices=tuple(OVERFLOW)),
    Spec('missions.checkpoint_turns', RetentionPolicy.checkpoint_turns, 'Write a checkpoint to '
         'missions.dir after this many turns; 1: restoring recomputes nothing, but every turn '
         'writes its keys and values; 0: not by turns', 0, 1_000_000),
    Spec('missions.checkpoint_idle', RetentionPolicy.checkpoint_idle, 'Write checkpoints to '
         'missions.dir after this many seconds without a request; 0: not when idle',
         0.0, MAX_TIMEOUT),
    Spec('missions.expire_after', 0.0, 'Delete a mission after this many seconds without use, '
         'counting only time in which the node runs; 0: never', 0.0, 1e9),
    Spec('missions.never_expire', [DEFAULT_MISSION], 'Missions that never expire; * and ? match '
         'as in a shell'),
    Spec('memory.budget_mb', AUTO_BUDGET, 'Memory limit (RSS) in MiB for the node and its child '
         'processes: idle missions are evicted and restored on demand, requests that do not fit '
         'are rejected; 0: no limit; negative (auto): what the node takes with its model open, '
         'and half of the memory that is then available', AUTO_BUDGET, 1 << 20),
    Spec('memory.device_budget_mb', 0, 'Memory limit in MiB for the model and its missions on a '
         'GPU that has memory of its own: missions are offloaded to the memory of the node first. '
         'On a Jetson memory.budget_mb counts both; 0: no limit', 0, 1 << 24),
    Spec('missions.max_count', 64, 'Maximum number of missions', 1, 1_000_000),
    Spec('image.variant', '', 'Vision encoder to load from the folder: q8, fp16, fp32, ... or a '
         'file name; empty: 8 bits, else full precision'),
    Spec('image.max_tokens', 0, 'Maximum tokens per image, tiles included; fewer are faster and '
         "lose detail; 0: the model's default", 0, 1 << 16),
    Spec('image.tiling', True, 'Split large images into tiles if the model supports it: it sees '
         'small objects, but takes several times longer'),
    Spec('image.mono16_range', list(AUTO_RANGE), 'Values of images of 16 bits (mono16, 16UC1, '
         'Bayer, PNG) that are shown as black and white, such as [0, 1023] for 10 bits or '
         '[300, 5000] for depth in mm; [0, 0]: found in each image, and logged'),
    Spec('image.max_age', 1.0, 'Maximum age in seconds of a camera frame when a request uses it; '
         '0: no limit', 0.0, MAX_TIMEOUT),
    Spec('image.wait', 2.0, 'Seconds to wait for a camera frame', 0.0, MAX_TIMEOUT),
    Spec('image.camera_keep_alive', 5.0, 'Seconds to stay subscribed to the camera after its '
         'last use, which costs CPU time; negative: always', -1.0, MAX_TIMEOUT),
    Spec('image.encoder_keep_alive', ALWAYS, 'Seconds to keep the vision encoder in memory '
         'after its last use; negative: always', -1.0, MAX_TIMEOUT),
    Spec('queue.size', 8, 'Maximum number of waiting requests', 0, 10_000),
    Spec('queue.policy', REJECT, 'What to do when the queue is full. '
         + '; '.join(f'{name}: {text}' for name, text in POLICIES.items()),
         choices=tuple(POLICIES)),
    Spec('queue.parallel', 4, 'Maximum batch size for decoding several missions, if the model '
         'supports batching; 1: one mission after the other', 1, 64),
    Spec('queue.timeout', 120.0, 'Default timeout of a request: seconds from its arrival to the '
         'end of its answer; 0: no timeout', 0.0, MAX_TIMEOUT, live=True),
    Spec('sampling.max_tokens', 256, 'Default maximum length of an answer in tokens',
         1, MAX_TOKENS, live=True),
    Spec('sampling.temperature', -1.0, f'0: greedy; higher: more varied; {_MODEL_ASKS}',
         -1.0, RANGES['temperature'][1], live=True),
    Spec('sampling.top_k', -1, f'Sample from the k most likely tokens; 0: all; {_MODEL_ASKS}',
         -1, RANGES['top_k'][1], live=True),
    Spec('sampling.top_p', -1.0, 'Sample from the most likely tokens whose probabilities add up '
         f'to this; 1: all; {_MODEL_ASKS}', -1.0, RANGES['top_p'][1], live=True),
    Spec('sampling.min_p', -1.0, 'Sample from tokens at least this many times as likely as the '
         f'best one; 0: all; {_MODEL_ASKS}', -1.0, RANGES['min_p'][1], live=True),
    Spec('sampling.repetition_penalty', -1.0, 'Penalty on tokens that are already in the '
         f'context, {RANGES["repetition_penalty"][0]:g} or more; 1: none; {_MODEL_ASKS}',
         -1.0, RANGES['repetition_penalty'][1], live=True),
    Spec('sampling.seed', -1, 'Random seed; the same seed gives the same answer; negative: a new '
         'one each time', -1, (1 << 63) - 1, live=True),
)
BY_NAME = {spec.name: spec for spec in SPECS}
