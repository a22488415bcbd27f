# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
List, show, export, import and delete the missions in a folder, without a model.

`list` and `show` also work while a node uses the folder. With a key, exports are encrypted;
plaintext files can also be imported with one.
"""
from __future__ import annotations

import argparse
from dataclasses import asdict
import os
from pathlib import Path
import sqlite3
from typing import Any

from lfm_ros.cli.output import print_error
from lfm_ros.cli.output import print_json
from lfm_ros.cli.output import print_text
from lfm_ros.cli.storage_options import cipher_of
from lfm_ros.cli.storage_options import KEY_HELP
from lfm_ros.cli.storage_options import missions_folder
from lfm_ros.conversation.entry import OBSERVATION
from lfm_ros.conversation.entry import TURNS
from lfm_ros.errors import ErrorCode
from lfm_ros.errors import LfmError
from lfm_ros.storage.offline import CHANGE
from lfm_ros.storage.offline import MAKE
from lfm_ros.storage.offline import OfflineMissions
from lfm_ros.storage.offline import READ


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument('--missions-dir', metavar='DIR', help='folder of the missions: '
                        'missions.dir of the node')
    parser.add_argument('--key-file', metavar='FILE', help=KEY_HELP)
    verbs = parser.add_subparsers(metavar='list|show|export|import|delete', required=True)
    for name, work, purpose, text, arguments in (
            ('list', _list, READ, 'list the missions', ()),
            ('show', _show, READ, 'print the turns of a mission', ('name',)),
            ('export', _export, CHANGE, 'export a mission to a file', ('name', 'file')),
            ('import', _import, MAKE, 'import a mission from a file', ('file',)),
            ('delete', _delete, CHANGE, 'delete a mission', ('name',))):
        child = verbs.add_parser(name, help=text, description=text)
        for argument in arguments:
            child.add_argument(argument, metavar=argument.upper())
        if name == 'import':
            child.add_argument('name', metavar='NAME', nargs='?', default='',
                               help='new name of the mission; default: its old name')
        if name == 'export':
            child.add_argument('--force', action='store_true', help='replace FILE if it exists')
        # All are taken before and behind this verb; what is not given here changes nothing.
        child.add_argument('--missions-dir', metavar='DIR', default=argparse.SUPPRESS)
        child.add_argument('--key-file', metavar='FILE', default=argparse.SUPPRESS)
        child.add_argument('--json', action='store_true', default=argparse.SUPPRESS)
        child.set_defaults(work=work, purpose=purpose)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    folder = missions_folder(arguments)
    if folder is None:
        raise LfmError(ErrorCode.INVALID_VALUE, '--missions-dir is missing: give the folder that '
                       'is missions.dir of the node')
    try:
        with OfflineMissions(folder, arguments.purpose, cipher_of(arguments)) as offline:
            found, text = arguments.work(offline, arguments)
    except sqlite3.Error as error:
        raise LfmError(ErrorCode.STORAGE_FAILED, f'the missions in {folder} cannot be used '
                       f'({error}): check the disk; a node that starts there repairs what it can'
                       ) from error
    if arguments.json:
        print_json(found)
    else:
        print_text(text)
    return 0


def _list(offline: OfflineMissions, _: argparse.Namespace) -> tuple[dict[str, Any], str]:
    missions = offline.list()
    width = max([len('mission'), *(len(m.mission_id) for m in missions)])
    rows = [f'{"mission":<{width}} {"turns":>6} {"tokens":>8} {"kB":>9} {"idle s":>9}']
    rows += [f'{m.mission_id:<{width}} {m.turns:>6} {m.tokens:>8} {m.bytes / 1e3:>9.1f} '
             f'{m.idle_seconds:>9.0f}' for m in missions]
    return {'missions': [asdict(m) for m in missions]}, '\n'.join(rows)


def _show(offline: OfflineMissions, arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    mission, transcript, wrong = offline.show(arguments.name)
    lost = mission.turns - transcript.turn_count
    if lost or wrong:
        print_error(arguments.prog, f'the log is damaged{wrong and f" ({wrong})"}, {lost} turns '
                    'of the mission cannot be read: showing those before them')
    turns: list[dict[str, Any]] = []
    observations: list[str] = []
    lines = []
    for entry in transcript.entries:
        if entry.kind == OBSERVATION:
            observations.append(entry.prompt)
            lines.append(f'. {entry.prompt}')
        elif entry.kind in TURNS:
            turns.append({'prompt': entry.prompt, 'text': entry.text,
                          'finish_reason': entry.finish_reason, 'observations': observations})
            observations = []
            cut = '' if entry.finish_reason == 'stop' else f' [{entry.finish_reason}]'
            lines += [f'> {entry.prompt}', f'{entry.text}{cut}', '']
    head = transcript.entries[0].prompt if transcript.entries else ''
    text = '\n'.join([*([head, ''] if head else []), *lines]).rstrip()
    return {'mission_id': mission.mission_id, 'tokens': mission.tokens, 'bytes': mission.bytes,
            'system_prompt': head, 'turns': turns, 'observations': observations}, text


def _export(offline: OfflineMissions, arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    file = Path(arguments.file)
    if os.path.lexists(file) and not (arguments.force and file.is_file()):
        raise LfmError(ErrorCode.INVALID_VALUE, f'{file} exists: give another name, or --force to '
                       'replace it' if file.is_file() else
                       f'{file} exists and is not a file: give another name')
    size = offline.export(arguments.name, file)
    return {'mission_id': arguments.name, 'file': arguments.file, 'bytes': size}, \
        f"mission '{arguments.name}' is in {arguments.file}, {size:,} bytes"


def _import(offline: OfflineMissions, arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    name, notice = offline.import_(Path(arguments.file), arguments.name)
    if notice:
        print_error(arguments.prog, notice)
    return {'mission_id': name}, f"mission '{name}' is in {offline.folder}"


def _delete(offline: OfflineMissions, arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    offline.delete(arguments.name)
    return {'mission_id': arguments.name}, f"mission '{arguments.name}' is deleted"
