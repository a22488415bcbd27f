# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import closing
from contextlib import contextmanager
import os
from pathlib import Path
import sys
from typing import Any

from lfm_ros.engine.model import DEFAULT_CONTEXT
from lfm_ros.engine.model import Model
from lfm_ros.engine.model import ModelOptions
from lfm_ros.engine.picture import EncodedImage
from lfm_ros.engine.sampling import RANGES
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.missions.keeping import Keeping
from lfm_ros.missions.overflow import POLICIES
from lfm_ros.missions.overflow import REFUSE
from lfm_ros.missions.scheduler import Defaults
from lfm_ros.missions.scheduler import Scheduler
from lfm_ros.missions.storage import Storage
from lfm_ros.missions.store import MissionStore
from lfm_ros.missions.vault import open_vault
from lfm_ros.missions.vault import Vault
from lfm_ros.prepare.opening import open_prepared

MOST_THREADS = 256
KEY_HELP = 'key with which the missions are encrypted, as missions.key_file of the node; ' \
    'default: they are not'


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all verbs share that open a model."""
    parser.add_argument('model', metavar='MODEL', help="model folder, .onnx file or 'demo'")
    parser.add_argument('--variant', default='', help='which graph of the folder: q4, q8, '
                        'fp32, fp16, ... or a file name')
    parser.add_argument('--threads', type=int, default=0, help='0: one per core')


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all verbs share that look at images."""
    parser.add_argument('--image', action='append', default=[], metavar='FILE',
                        help='JPEG or PNG to look at; may be repeated')
    parser.add_argument('--image-tokens', type=int, default=0, metavar='N',
                        help='most tokens of one image; default: as the model has it')
    parser.add_argument('--no-tiling', action='store_true',
                        help='do not cut large images into tiles')


def read_images(files: Sequence[str]) -> list[EncodedImage]:
    """Return the images in files."""
    images = []
    for name in files:
        try:
            path = Path(name).expanduser()
            if path.exists() and not path.is_file():  # a pipe would never end
                raise ValueError('it is no file')
            images.append(EncodedImage(path.read_bytes()))
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, 'strerror', '') or str(error)
            raise LfmError(ErrorCode.INVALID_IMAGE, f'the image {name} cannot be read '
                           f'({reason}): give a JPEG or PNG file') from error
    return images


def add_talk_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `ask` and `chat` share."""
    parser.add_argument('--system', default='', help='system prompt')
    parser.add_argument('--mission', default='default', help='name of the mission')
    parser.add_argument('--missions-dir', metavar='DIR', help='where missions are kept, as '
                        'missions.dir of the node; default: they end with this command')
    parser.add_argument('--key-file', metavar='FILE', help=KEY_HELP)
    parser.add_argument('--overflow', choices=POLICIES, default=REFUSE,
                        help='what happens when the context is full: '
                        + ', '.join(f'{name}: {text}' for name, text in POLICIES.items()))
    add_image_arguments(parser)
    parser.add_argument('--max-tokens', type=int, default=256, help='longest answer')
    parser.add_argument('--timeout', type=float, default=0.0, help='seconds; 0: none')
    parser.add_argument('--stop', action='append', default=[], metavar='TEXT',
                        help='end the answer before this text; may be repeated')
    parser.add_argument('--context', type=int, default=DEFAULT_CONTEXT,
                        help='tokens of context; 0: as many as the model was made for')
    for name, (low, high, edge) in RANGES.items():
        parser.add_argument(f'--{name.replace("_", "-")}', dest=name,
                            type=int if isinstance(low, int) else float,
                            help=f'{low:g} to {high:g}; {edge}; default: as the model asks')
    parser.add_argument('--seed', type=int, help='the same seed gives the same answer')


def open_model(arguments: argparse.Namespace, context: int = 0, speaks: bool = True,
               make: bool = False) -> Model:
    """
    Open the model that the arguments name.

    :param make: prepare it for this machine when it is not yet, as the node does; else what was
        prepared is used when it is there.
    """
    if not 0 <= arguments.threads <= MOST_THREADS:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--threads is {arguments.threads}: set it '
                       f'between 0 (one per core) and {MOST_THREADS}')
    if context < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--context is {context}: set it to 16 or more, '
                       'or to 0')
    tokens = getattr(arguments, 'image_tokens', 0)
    if tokens < 0:
        raise LfmError(ErrorCode.INVALID_VALUE, f'--image-tokens is {tokens}: set it to 1 or more')
    options = ModelOptions(variant=arguments.variant, threads=arguments.threads,
                           context_length=context, image_tokens=tokens,
                           image_tiling=not getattr(arguments, 'no_tiling', False))
    if getattr(arguments, 'plain', False):
        return Model(arguments.model, options, speaks)
    return open_prepared(arguments.model, options, speaks, make=make)


@contextmanager
def open_scheduler(arguments: argparse.Namespace) -> Iterator[Scheduler]:
    """Open a model and all that is needed to talk with it; at the end, keep what was said."""
    folder, vault = missions_folder(arguments), vault_of(arguments)
    sampling = sampling_of(arguments)
    for name, value in sampling.items():
        if value < 0:  # over ROS a negative number means the default, here it is a mistake
            raise LfmError(ErrorCode.INVALID_SAMPLING,
                           f'--{name.replace("_", "-")} is {value:g}: it cannot be negative')
    if arguments.max_tokens < 1:
        raise LfmError(ErrorCode.INVALID_VALUE,
                       f'--max-tokens is {arguments.max_tokens}: set it to 1 or more')
    model = open_model(arguments, arguments.context)
    defaults = Defaults(model.sampling.changed(sampling), arguments.max_tokens)
    # The node may keep more missions than its default allows.
    keeping = Keeping(most=sys.maxsize, overflow=arguments.overflow)
    with closing(Storage(folder, model, vault)) as storage:
        store = MissionStore(model, arguments.system, keeping, storage)
        scheduler = Scheduler(store, defaults=defaults)
        try:
            yield scheduler
        finally:
            scheduler.stop()
            if folder and not scheduler.lost:
                store.put_away()


def missions_folder(arguments: argparse.Namespace) -> Path | None:
    """Return the folder that --missions-dir names, None when it is not given."""
    if arguments.missions_dir is None:
        return None
    if not arguments.missions_dir.strip() or '\0' in arguments.missions_dir:
        raise LfmError(ErrorCode.INVALID_VALUE, '--missions-dir is empty: give a folder, or leave '
                       'it out')
    return Path(os.path.expanduser(arguments.missions_dir))


def vault_of(arguments: argparse.Namespace) -> Vault:
    """Return what --key-file gives the key to."""
    if arguments.key_file is not None and not arguments.key_file.strip():
        raise LfmError(ErrorCode.INVALID_VALUE, '--key-file is empty: give a file, or leave it '
                       'out')
    return open_vault(arguments.key_file or '')


def sampling_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling fields that were given."""
    given = {name: getattr(arguments, name) for name in (*RANGES, 'seed')}
    return {k: v for k, v in given.items() if v is not None}
