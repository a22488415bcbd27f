# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Keep a mission log that can be asked.

The robot tells what happens as observations: they need no answer, and are read into the mission
while the node is idle. A question later finds them there. Start a node, then this:

    ros2 run lfm_ros lfm_node --ros-args -p model.path:=demo
    python examples/mission_log.py
"""
from lfm_ros.cli.output import print_text
from lfm_ros.client import LfmClient
from lfm_ros.msg import Sampling
import rclpy

MISSION = 'patrol'
GREEDY = Sampling(temperature=0.0)  # the same question, the same answer
LOG = ('The pump is at waypoint 7.', 'The battery is at 34 percent.',
       'The pump moved to waypoint 12.')
QUESTIONS = ('Where is the pump?', 'How much battery is left?', 'Where is the ladder?')


def main() -> None:
    """Tell the log, then ask it."""
    rclpy.init()
    node = rclpy.create_node('mission_log')
    client = LfmClient(node)
    client.wait()
    for text in LOG:
        client.observe(text, MISSION)
        print_text(f'log:   {text}')
    for question in QUESTIONS:
        response = client.ask(question, MISSION, sampling=GREEDY)
        usage = response.usage
        print_text(f'asked: {question}\n'
                   f'model: {response.text or response.error_msg}  '
                   f'[{usage.cached_tokens} tokens were in its memory, {usage.prompt_tokens} new]')
    rclpy.shutdown()


if __name__ == '__main__':
    main()
