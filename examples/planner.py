# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make a plan of what somebody says.

A JSON schema holds the model to steps that the robot has; whether a step makes sense here is
checked as ever. Start a node, then this:

    ros2 run lfm_ros lfm_node --ros-args -p model.path:=demo
    python examples/planner.py ['Go to waypoint 12.' ...]
"""
import sys
from typing import Any

from lfm_ros.cli.output import print_text
from lfm_ros.client import AnswerError
from lfm_ros.client import LfmClient
from lfm_ros.msg import Sampling
import rclpy

MISSION = 'planner'
GREEDY = Sampling(temperature=0.0)  # the same command, the same plan
WAYPOINTS = range(1, 21)  # that are on the map
COMMANDS = ('Go to waypoint 12 at 0.5 m/s.', 'Wait 20 seconds.', 'Go to waypoint 99.')


def step(action: str, required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of a step."""
    return {'type': 'object', 'additionalProperties': False,
            'properties': {'action': {'const': action}, **required, **optional},
            'required': ['action', *required]}


PLAN = {'anyOf': [
    step('navigate', {'waypoint': {'type': 'integer'}}, speed={'type': 'number'}),
    step('wait', {'seconds': {'type': 'integer'}}),
    step('stop', {})]}


def objection(plan: dict[str, Any]) -> str:
    """Return what speaks against a plan; nothing, if it can be carried out."""
    if plan.get('waypoint', WAYPOINTS[0]) not in WAYPOINTS:
        return f'waypoint {plan["waypoint"]} is not on the map'
    if plan.get('speed', 0.0) > 1.0:
        return f'{plan["speed"]} m/s is too fast'
    return ''


def main() -> None:
    """Plan what each command says."""
    rclpy.init()
    client = LfmClient(rclpy.create_node('planner'))
    client.wait()
    for command in sys.argv[1:] or COMMANDS:
        print_text(f'told:  {command}')
        try:
            plan = client.ask_json(command, PLAN, MISSION, sampling=GREEDY, aside=True)
        except AnswerError as error:
            print_text(f'plan:  none, {error}')
            continue
        against = objection(plan)
        print_text(f'plan:  {plan}\n'
                   f'check: {"refused, " + against if against else "can be done"}')
    rclpy.shutdown()


if __name__ == '__main__':
    main()
