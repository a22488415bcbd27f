# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask the embedded model about held-out missions through ROS, every way in turn.

Starts the node with the model `demo` in a process of its own. Two missions are always told in
turn, so that a mission that took something from the other would answer wrongly. Each is a
conversation of training/missions.py with names, values or wordings that training never saw.

    python bench/recall.py [--missions 40]
"""
from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from itertools import cycle
import os
from pathlib import Path
import random
import signal
import subprocess
import sys

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'training'))
os.environ['ROS_DOMAIN_ID'] = str(random.randint(1, 101))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

from entities import SPLITS  # noqa: E402
from lfm_ros.client import LfmClient  # noqa: E402
from lfm_ros.msg import Query  # noqa: E402
from lfm_ros.msg import Response  # noqa: E402
from missions import Mission  # noqa: E402
from missions import MissionMaker  # noqa: E402
import rclpy  # noqa: E402
from rclpy.node import Node  # noqa: E402


class Topics:
    """Asks by ~/query and waits for the ~/response with the same request_id."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._found: dict[str, Response] = {}
        self._asked = node.create_publisher(Query, '/lfm/query', 10)
        node.create_subscription(
            Response, '/lfm/response', lambda r: self._found.update({r.request_id: r}), 10)
        while not self._asked.get_subscription_count() or not node.count_publishers(
                '/lfm/response'):
            rclpy.spin_once(node, timeout_sec=0.1)

    def ask(self, prompt: str, mission_id: str) -> str:
        """Return the text of the answer."""
        name = f'{mission_id}:{len(self._found)}'
        self._asked.publish(Query(prompt=prompt, mission_id=mission_id, request_id=name))
        while name not in self._found:
            rclpy.spin_once(self._node)
        return self._found[name].text


def held_out(count: int, seed: int) -> list[Mission]:
    """Return missions of every split, with 0 to 30 turns between a fact and its question."""
    chance = random.Random(seed)
    found = []
    for number, split in zip(range(count), cycle(SPLITS)):
        maker = MissionMaker(seed + number, split)
        found.append(maker.distant(chance.randint(0, 30)) if number % 2 else
                     maker.mixed(chance.randint(6, 24)))
    return found


def main() -> None:
    """Talk, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--model', default='demo')
    parser.add_argument('--missions', type=int, default=40)
    parser.add_argument('--seed', type=int, default=91000)
    arguments = parser.parse_args()
    server = subprocess.Popen([sys.executable, '-m', 'lfm_ros.node.start', '--ros-args', '-p',
                               f'model.path:={arguments.model}', '--log-level', 'warn'])
    rclpy.init()
    node = rclpy.create_node('recall')
    client = LfmClient(node)
    client.wait()
    topics = Topics(node)
    while client.ask('Hello.', 'probe').error_code:
        rclpy.spin_once(node, timeout_sec=0.1)
    ways: dict[str, Callable[[str, str], str]] = {
        'topic': topics.ask,
        'service': lambda prompt, name: client.ask(prompt, name).text,
        'action': lambda prompt, name: client.generate(prompt, name).result().text}
    asked, right = Counter(), Counter()
    missions = held_out(arguments.missions, arguments.seed)
    way = cycle(ways)
    for number, pair in enumerate(zip(missions[::2], missions[1::2])):
        places = [0, 0]
        chance = random.Random(number)
        while any(place < len(m.turns) for place, m in zip(places, pair)):
            side = chance.choice([s for s in (0, 1) if places[s] < len(pair[s].turns)])
            turn = pair[side].turns[places[side]]
            places[side] += 1
            kind = next(way)
            answer = ways[kind](turn.user, f'mission {number} {side}')
            for key in (kind, turn.kind):
                asked[key] += 1
                right[key] += answer == turn.answer
        for side in (0, 1):
            client.delete(f'mission {number} {side}')
    for key, count in sorted(asked.items()):
        print(f'{key:<12} {right[key]:>5} of {count:>5} right  {right[key] / count:7.1%}')
    node.destroy_node()
    rclpy.try_shutdown()
    server.send_signal(signal.SIGINT)
    server.wait(20)


if __name__ == '__main__':
    main()
