# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verb `ros2 lfm observe`."""
from __future__ import annotations

import argparse

from lfm_ros.cli.inputs import given_text
from lfm_ros.errors import LfmError
from lfm_ros.ros2lfm.verb import add_mission_argument
from lfm_ros.ros2lfm.verb import add_node_argument
from lfm_ros.ros2lfm.verb import connected
from lfm_ros.ros2lfm.verb import VerbExtension


class ObserveVerb(VerbExtension):
    """Add an observation to a mission, without generating an answer."""

    def add_arguments(self, parser: argparse.ArgumentParser, cli_name: str) -> None:
        """Add the arguments of this verb."""
        parser.add_argument('text', help='the observation; - reads it from standard input')
        add_mission_argument(parser)
        add_node_argument(parser)

    def main(self, *, args: argparse.Namespace) -> int | str:
        """Send the observation."""
        try:
            with connected(args) as client:
                client.observe(given_text(args.text), args.mission)
        except (TimeoutError, LfmError) as error:
            return str(error)
        return 0
