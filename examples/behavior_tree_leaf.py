# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask a question in a behaviour tree.

A leaf must not block: the first tick asks, later ones look whether the answer is there. It
succeeds when the model chose the wanted answer and is sure of it. With py_trees, derive from
py_trees.behaviour.Behaviour, rename tick to update and halt to terminate, and return its Status.

    ros2 run lfm_ros lfm_node --ros-args -p model.path:=demo
    python examples/behavior_tree_leaf.py
"""
from enum import Enum
from typing import Optional

from lfm_ros.cli.output import print_text
from lfm_ros.client import AnswerError
from lfm_ros.client import LfmClient
import rclpy
from rclpy.task import Future

MISSION = 'tree'


class Status(Enum):
    """What a leaf says when it is ticked."""

    RUNNING = 'running'
    SUCCESS = 'success'
    FAILURE = 'failure'


class IsAnswer:
    """A leaf that checks what the answer to a question is, from the memory of a mission."""

    def __init__(self, client: LfmClient, question: str, wanted: str, others: list[str],
                 confidence: float = 0.9) -> None:
        self.feedback = ''
        self._client, self._question = client, question
        self._wanted, self._choices = wanted, [wanted, *others]
        self._confidence = confidence
        self._future: Optional[Future] = None

    def tick(self) -> Status:
        """Ask, or look whether the answer is there."""
        if self._future is None:
            self._future = self._client.choose_async(
                self._question, self._choices, MISSION, timeout=10.0, aside=True)
        if not self._future.done():
            return Status.RUNNING
        future, self._future = self._future, None  # the next tick asks anew
        try:
            choice = future.result()
        except AnswerError as error:
            self.feedback = str(error)
            return Status.FAILURE
        self.feedback = f'{choice.text} ({choice.confidence:.0%})'
        sure = choice.text == self._wanted and choice.confidence >= self._confidence
        return Status.SUCCESS if sure else Status.FAILURE

    def halt(self) -> None:
        """Forget the question."""
        self._future = None


def main() -> None:
    """Tick leaves until they know."""
    rclpy.init()
    node = rclpy.create_node('tree')
    client = LfmClient(node)
    client.wait()
    client.ask('The pump is at waypoint 12.', MISSION)
    for wanted, other in (('waypoint 12', 'waypoint 7'), ('waypoint 7', 'waypoint 12')):
        leaf = IsAnswer(client, 'Where is the pump?', wanted, [other])
        while (status := leaf.tick()) == Status.RUNNING:
            rclpy.spin_once(node, timeout_sec=0.1)  # a tree ticks at its own rate
        print_text(f'is the pump at {wanted}? {status.name}, the model says {leaf.feedback}')
    rclpy.shutdown()


if __name__ == '__main__':
    main()
