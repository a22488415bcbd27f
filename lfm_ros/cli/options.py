# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path
import sys
from typing import Any

from lfm_ros.cli.storage_options import cipher_of
from lfm_ros.cli.storage_options import KEY_HELP
from lfm_ros.cli.storage_options import missions_folder
from lfm_ros.conversation.context_window import POLICIES
from lfm_ros.conversation.context_window import REFUSE
from lfm_ros.cpu import parse_cores
from lfm_ros.cpu import pin_thread
from lfm_ros.engine.model import Model
from lfm_ros.engine.model_options import AUTO
from lfm_ros.engine.model_options import DEFAULT_CONTEXT
from lfm_ros.engine.model_options import ModelOptions
from lfm_ros.engine.model_settings import MIN_CONTEXT
from lfm_ros.engine.runtime.execution_provider import CPU
from lfm_ros.engine.runtime.execution_provider import parse_options
from lfm_ros.engine.sampling import RANGES
from lfm_ros.engine.vision.image import EncodedImage
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.prepare.choose_provider import resolve
from lfm_ros.prepare.open_model import open_prepared
from lfm_ros.serving.mission_store import MissionStore
from lfm_ros.serving.query import MAX_TOKENS
from lfm_ros.serving.query import RequestDefaults
from lfm_ros.serving.retention import RetentionPolicy
from lfm_ros.serving.scheduler import Scheduler
from lfm_ros.storage.encryption import StorageCipher
from lfm_ros.storage.storage import Storage

MAX_THREADS = 256


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all verbs share that open a model."""
    parser.add_argument('model', metavar='MODEL', help="model folder, .onnx file or 'demo'")
    parser.add_argument('--variant', default='', help='which graph of the folder: q4, q8, '
                        'fp32, fp16, ... or a file name; default: the best one for a CPU')
    parser.add_argument('--context', type=int, default=0, metavar='N',
                        help='maximum tokens of context, as model.context_length of the node; '
                        "0: the model's maximum")
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='threads per '
                        'operator; 0: one per core')
    parser.add_argument('--cores', default='', metavar='LIST', help='cores for its threads, one '
                        'on each, as 4-7; default: any')
    parser.add_argument('--provider', default=AUTO, metavar='NAME', help='ONNX Runtime execution '
                        'provider, as CUDAExecutionProvider; default: the fastest one, measured '
                        'with this model once')
    parser.add_argument('--provider-option', action='append', default=[], metavar='NAME=VALUE',
                        help='option of the provider, as gpu_mem_limit=2147483648; may be '
                        'repeated')


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all verbs share that take images."""
    parser.add_argument('--image', action='append', default=[], metavar='FILE',
                        help='JPEG or PNG to add to the prompt; may be repeated')
    add_vision_arguments(parser)


def add_vision_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how images are shown to the model."""
    parser.add_argument('--image-tokens', type=int, default=0, metavar='N',
                        help='maximum tokens per image; default: that of the model')
    parser.add_argument('--no-tiling', action='store_true',
                        help='do not split large images into tiles')


def read_images(files: Sequence[str]) -> list[EncodedImage]:
    """Return the images in files."""
    images = []
    for name in files:
        try:
            path = Path(name).expanduser()
            if path.exists() and not path.is_file():  # a pipe would never end
                raise ValueError('it is not a file')
            images.append(EncodedImage(path.read_bytes()))
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, 'strerror', '') or str(error)
            raise LfmError(ErrorCode.INVALID_IMAGE, f'the image {name} cannot be read '
                           f'({reason}): give a JPEG or PNG file') from error
    return images


def add_talk_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `ask` and `chat` share."""
    parser.add_argument('--mission', default='default', metavar='NAME',
                        help='name of the mission')
    parser.add_argument('--missions-dir', metavar='DIR', help='folder in which missions are '
                        'stored, as missions.dir of the node; default: they end with this command')
    parser.add_argument('--key-file', metavar='FILE', help=KEY_HELP)
    parser.add_argument('--stop', action='append', default=[], metavar='TEXT',
                        help='end the answer before this text; may be repeated')
    add_image_arguments(parser)
    add_answer_arguments(parser)


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what counts for all questions that do not say it themselves."""
    parser.add_argument('--system', default='', metavar='TEXT', help='system prompt; default: '
                        "the chat template's")
    parser.add_argument('--overflow', choices=POLICIES, default=REFUSE,
                        help='what to do when the context is full: '
                        + '; '.join(f'{name}: {text}' for name, text in POLICIES.items()))
    parser.add_argument('--max-tokens', type=int, default=256, metavar='N',
                        help='maximum length of the answer in tokens')
    parser.add_argument('--timeout', type=float, default=0.0, metavar='SECONDS',
                        help='for the whole answer; 0: none')
    parser.set_defaults(context=DEFAULT_CONTEXT)
    add_sampling_arguments(parser)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how tokens are chosen."""
    for name, (low, high, edge) in RANGES.items():
        parser.add_argument(f'--{name.replace("_", "-")}', dest=name,
                            type=int if isinstance(low, int) else float, metavar='NUMBER',
                            help=f'{low:g} to {high:g}; {edge}; default: that of the model')
    parser.add_argument('--seed', type=int, metavar='NUMBER', help='the same seed gives the same '
                        'answer; default: another answer each time')


def open_model(arguments: argparse.Namespace, with_text: bool = True, make: bool = False
               ) -> Model:
    """
    Open the model that the arguments name.

    :param make: prepare it for this machine when it is not yet, as the node does; else what was
        prepared is used when it is there.
    """
    if not 0 <= arguments.threads <= MAX_THREADS:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--threads is {arguments.threads}: set it '
                       f'between 0 (one per core) and {MAX_THREADS}')
    check_context(arguments.context)
    tokens = getattr(arguments, 'image_tokens', 0)
    if tokens < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--image-tokens is {tokens}: set it to 1 or more')
    try:
        cores = parse_cores(getattr(arguments, 'cores', ''))
        pin_thread(cores)  # those of the runs inherit it
    except ValueError as error:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--cores: {error}') from error
    provider = getattr(arguments, 'provider', AUTO)
    options = ModelOptions(variant=arguments.variant, threads=arguments.threads, cores=cores,
                           providers=[provider], provider_options=parse_options(
                               getattr(arguments, 'provider_option', [])),
                           context_length=arguments.context, image_tokens=tokens,
                           image_tiling=not getattr(arguments, 'no_tiling', False))
    plain = getattr(arguments, 'plain', False)
    options = resolve(arguments.model, options, prepare=not plain)
    if plain:
        return Model(arguments.model, options, with_text)
    # Without what is prepared for it, a GPU can be slower than the CPU.
    make = make or options.providers[0] != CPU
    return open_prepared(arguments.model, options, with_text, make=make)


def check_context(tokens: int) -> None:
    """Refuse a --context that is none."""
    if tokens < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--context is {tokens}: set it to '
                       f'{MIN_CONTEXT} or more, or to 0')


@contextmanager
def open_scheduler(arguments: argparse.Namespace) -> Iterator[Scheduler]:
    """Open a model and all that is needed to talk with it; at the end, keep what was said."""
    check_answer_arguments(arguments)
    with scheduler_of(open_model(arguments), arguments, missions_folder(arguments),
                      cipher_of(arguments)) as scheduler:
        yield scheduler


def check_answer_arguments(arguments: argparse.Namespace) -> None:
    """Refuse values of :func:`add_answer_arguments` that are none."""
    for name, value in sampling_of(arguments).items():
        if value < 0:  # over ROS a negative number means the default, here it is a mistake
            raise LfmError(ErrorCode.INVALID_SAMPLING,
                           f'--{name.replace("_", "-")} is {value:g}: it cannot be negative')
    if not 1 <= arguments.max_tokens <= MAX_TOKENS:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--max-tokens is {arguments.max_tokens}: set it '
                       f'between 1 and {MAX_TOKENS}')


@contextmanager
def scheduler_of(model: Model, arguments: argparse.Namespace, folder: Path | None = None,
                 cipher: StorageCipher = StorageCipher(), queue_size: int = 8,
                 parallel: int = 1) -> Iterator[Scheduler]:
    """
    Give the scheduler of a model; at the end, keep what was said.

    :param folder: of the missions; None: they end with it.
    """
    defaults = RequestDefaults(model.sampling.with_overrides(sampling_of(arguments)),
                               arguments.max_tokens)
    # The node may keep more missions than its default allows.
    retention = RetentionPolicy(max_missions=sys.maxsize,
                                overflow=getattr(arguments, 'overflow', REFUSE))
    with closing(Storage(folder, model, cipher)) as storage:
        store = MissionStore(model, arguments.system, retention, storage)
        scheduler = Scheduler(store, queue_size, defaults=defaults, parallel=parallel)
        try:
            yield scheduler
        finally:
            scheduler.stop()
            if folder and not scheduler.hung:
                store.flush_all()


def sampling_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling fields that were given."""
    given = {name: getattr(arguments, name) for name in (*RANGES, 'seed')}
    return {k: v for k, v in given.items() if v is not None}
