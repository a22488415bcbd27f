# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verb `ros2 lfm top`: that of the command `lfm`."""
from __future__ import annotations

import argparse

from lfm_ros.cli.output import visible
from lfm_ros.cli.top import command as top
from lfm_ros.errors import LfmError
from lfm_ros.ros2lfm.verb import VerbExtension


class TopVerb(VerbExtension):
    """Watch a node: its model, memory, queue, speed and missions."""

    def add_arguments(self, parser: argparse.ArgumentParser, cli_name: str) -> None:
        """Add the arguments of this verb."""
        top.add_arguments(parser)
        parser.add_argument('--json', action='store_true', help='print one JSON object')

    def main(self, *, args: argparse.Namespace) -> int | str:
        """Show it."""
        try:
            return top.run(args)
        except LfmError as error:
            return visible(error.message)
