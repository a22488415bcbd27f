# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Let a model drive a robot through its tools.

The tools are methods of a (simulated) robot. What the model is told of them are their names,
docstrings and annotations. Start a node, then this:

    ros2 run lfm_ros lfm_node --ros-args -p model.path:=demo
    python examples/tool_robot.py ['Go to waypoint 7.' [TOOL_CHOICE]]

TOOL_CHOICE is 'auto' (the model decides whether it calls), 'required', or the name of a tool.
"""
import sys
from typing import Literal

from lfm_ros.cli.output import print_text
from lfm_ros.client import LfmClient
from lfm_ros.client import Toolbox
from lfm_ros.msg import Sampling
import rclpy

MISSION = 'driver'
GREEDY = Sampling(temperature=0.0)  # the same command, the same calls


class Robot:
    """A simulated robot: a place and a camera."""

    def __init__(self) -> None:
        self.place = 'waypoint 1'

    def navigate(self, waypoint: Literal[1, 3, 7, 12]) -> str:
        """Drive to a waypoint."""
        self._do(f'drives to waypoint {waypoint}')
        if waypoint == 3:
            raise RuntimeError('the way to waypoint 3 is blocked')
        self.place = f'waypoint {waypoint}'
        return f'arrived at {self.place}'

    def dock(self) -> str:
        """Drive to the charging dock."""
        self._do('docks')
        self.place = 'the dock'
        return 'charging'

    def take_picture(self) -> dict[str, str]:
        """Take a picture of what is ahead."""
        self._do('takes a picture')
        return {'file': 'picture.jpg', 'taken_at': self.place}

    def _do(self, what: str) -> None:
        print_text(f'robot: {what}')


def main() -> None:
    """Tell the robot what to do."""
    command = sys.argv[1] if len(sys.argv) > 1 else 'Go to waypoint 7.'
    tool_choice = sys.argv[2] if len(sys.argv) > 2 else 'auto'
    robot = Robot()
    tools = Toolbox([robot.navigate, robot.dock, robot.take_picture])
    rclpy.init()
    client = LfmClient(rclpy.create_node('tool_robot'))
    client.wait()
    print_text(f'told:  {command}')
    response = client.run_tools(command, tools, MISSION, sampling=GREEDY, rounds=4,
                                tool_choice=tool_choice)
    print_text(f'model: {response.text}\n'
               f'robot: is at {robot.place}')
    rclpy.shutdown()


if __name__ == '__main__':
    main()
