# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command, with verbs of its own."""
from __future__ import annotations

import argparse

from ros2cli.command import add_subparsers_on_demand
from ros2cli.command import CommandExtension


class LfmCommand(CommandExtension):
    """Ask and watch a running lfm node."""

    def add_arguments(self, parser: argparse.ArgumentParser, cli_name: str) -> None:
        """Add the verbs."""
        self._parser = parser
        add_subparsers_on_demand(parser, cli_name, '_verb', 'ros2lfm.verb', required=False)

    def main(self, *, parser: argparse.ArgumentParser, args: argparse.Namespace) -> int | str:
        """Run the verb; a sentence that is returned goes to stderr, with the exit status 1."""
        if not hasattr(args, '_verb'):
            self._parser.print_help()
            return 0
        return args._verb.main(args=args)
