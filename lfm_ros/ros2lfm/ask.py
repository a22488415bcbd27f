# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verb `ros2 lfm ask`."""
from __future__ import annotations

import argparse

from lfm_ros.cli.inputs import given_text
from lfm_ros.cli.output import print_text
from lfm_ros.cli.output import visible
from lfm_ros.client import Generation
from lfm_ros.errors import LfmError
from lfm_ros.msg import Response
from lfm_ros.ros2lfm.verb import add_mission_argument
from lfm_ros.ros2lfm.verb import add_node_argument
from lfm_ros.ros2lfm.verb import connected
from lfm_ros.ros2lfm.verb import VerbExtension

_REACTION = 0.2  # seconds in which Python looks after signals
_END = 10.0  # seconds that a cancelled answer may take to end


class AskVerb(VerbExtension):
    """Ask a question and stream the answer."""

    def add_arguments(self, parser: argparse.ArgumentParser, cli_name: str) -> None:
        """Add the arguments of this verb."""
        parser.add_argument('text', help='the question; - reads it from standard input')
        add_mission_argument(parser)
        parser.add_argument('--camera', action='store_true',
                            help='add the latest camera frame to the question')
        add_node_argument(parser)

    def main(self, *, args: argparse.Namespace) -> int | str:
        """Ask; ctrl-C cancels the answer and undoes the turn."""
        try:
            with connected(args) as client:
                generation = client.generate(
                    given_text(args.text), args.mission, use_camera=args.camera,
                    on_token=lambda token: print_text(token.text, end='', flush=True))
                try:
                    response = _wait(generation)
                except KeyboardInterrupt:
                    generation.cancel()
                    response = generation.result(_END)
        except (TimeoutError, LfmError) as error:
            return visible(str(error))
        if response.text:
            print_text()
        return visible(f'[{response.error_code}] {response.error_msg}') \
            if response.error_code else 0


def _wait(generation: Generation) -> Response:
    while True:
        try:
            return generation.result(_REACTION)
        except TimeoutError:
            pass
