# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verb `ros2 lfm missions`."""
from __future__ import annotations

import argparse
from typing import Any

from lfm_ros.cli.output import print_text
from lfm_ros.client import LfmClient
from lfm_ros.ros2lfm.verb import add_node_argument
from lfm_ros.ros2lfm.verb import connected
from lfm_ros.ros2lfm.verb import VerbExtension


class MissionsVerb(VerbExtension):
    """List the missions, or change one: reset, delete, fork, rewind, save."""

    def add_arguments(self, parser: argparse.ArgumentParser, cli_name: str) -> None:
        """Add what can be done with missions."""
        verbs = parser.add_subparsers(metavar='list|reset|delete|fork|rewind|save', required=True)
        for name, work, text in (
                ('list', _list, 'list the missions'),
                ('reset', lambda c, a: c.reset(a.mission), 'forget all turns of a mission'),
                ('delete', lambda c, a: c.delete(a.mission), 'delete a mission'),
                ('fork', lambda c, a: c.fork(a.mission, a.new), 'copy a mission'),
                ('rewind', lambda c, a: c.rewind(a.turns, a.mission),
                 'take a mission back to an earlier turn'),
                ('save', _save, 'write a checkpoint of a mission now')):
            child = verbs.add_parser(name, help=text, description=text)
            if name != 'list':
                child.add_argument('mission', metavar='MISSION')
            if name == 'fork':
                child.add_argument('new', metavar='NEW', help='name of the copy')
            if name == 'rewind':
                child.add_argument('turns', metavar='TURNS', type=number,
                                   help='how many turns to keep')
            add_node_argument(child)
            child.set_defaults(work=work)

    def main(self, *, args: argparse.Namespace) -> int | str:
        """Do what was asked for; ros2cli prints the sentence of a RuntimeError itself."""
        try:
            with connected(args) as client:
                args.work(client, args)
        except TimeoutError as error:
            return str(error)
        return 0


def _list(client: LfmClient, _: Any) -> None:
    missions = client.missions()
    width = max([len('mission'), *(len(m.mission_id) for m in missions)])
    print_text(f'{"mission":<{width}} {"turns":>6} {"tokens":>8} {"kB":>9} {"idle s":>9}')
    for m in missions:
        memory = f'{m.bytes / 1e3:.1f}' if m.resident else 'aside'
        print_text(f'{m.mission_id:<{width}} {m.turns:>6} {m.tokens:>8} {memory:>9} '
                   f'{m.idle_seconds:>9.0f}')


def _save(client: LfmClient, args: Any) -> None:
    print_text(f'{client.save(args.mission):,} bytes')


def number(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 32:
        raise ValueError
    return number
