# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make the turns that need no memory: commands with their JSON, and small talk."""

import random

from entities import EntityMaker
from wordings import ACTIONS, CHAT, pick
from words import COLOURS, OBJECTS


def make_speed(rng: random.Random) -> tuple[str, str]:
    """Return a speed as words and as a JSON member; both are empty more often than not."""
    if rng.random() < 0.6:
        return '', ''
    value = rng.choice((f'0.{rng.randint(1, 9)}', f'1.{rng.randint(1, 9)}', '1'))
    return f' at {value} m/s', f',"speed":{value}'


def make_command(rng: random.Random, names: EntityMaker) -> tuple[str, str]:
    """Return a command and the JSON that answers it."""
    kind = rng.choice(('go', 'go', 'go', 'turn', 'move', 'wait', 'pick', 'patrol', 'plain'))
    if kind == 'go':
        value, (speed, member) = names.waypoint(), make_speed(rng)
        text = pick(rng, 'go_waypoint').format(v=value)[:-1] + f'{speed}.'
        answer = f'"navigate","waypoint":{value}{member}'
    elif kind == 'turn':
        side = rng.choice(('left', 'right'))
        angle = rng.choice((30, 45, 90, 180, rng.randint(1, 180)))
        text = f'{rng.choice(("Turn", "Turn", "Rotate"))} {side} {angle} degrees.'
        answer = f'"rotate","direction":"{side}","degrees":{angle}'
    elif kind == 'move':
        way = rng.choice(('forward', 'back'))
        far = rng.choice((str(rng.randint(1, 20)), f'{rng.randint(0, 9)}.{rng.randint(1, 9)}'))
        text, answer = f'Move {way} {far} meters.', f'"move","direction":"{way}","meters":{far}'
    elif kind == 'wait':
        seconds = rng.randint(1, 99)
        text, answer = f'Wait {seconds} seconds.', f'"wait","seconds":{seconds}'
    elif kind == 'pick':
        thing = rng.choice(OBJECTS)
        thing = f'{rng.choice(COLOURS)} {thing}' if rng.random() < 0.6 else thing
        verb, action = rng.choice((('Pick up', 'pick'), ('Put down', 'place'),
                                   ('Take', 'pick'), ('Place', 'place')))
        text, answer = f'{verb} the {thing}.', f'"{action}","object":"{thing}"'
    elif kind == 'patrol':
        first, second = names.waypoint(), names.waypoint()
        text = f'Patrol between waypoint {first} and waypoint {second}.'
        answer = f'"patrol","waypoints":[{first},{second}]'
    else:
        text = rng.choice(list(ACTIONS))
        answer = f'"{ACTIONS[text]}"'
    return text, f'{{"action":{answer}}}'


def make_chat(rng: random.Random) -> tuple[str, str]:
    """Return a line of small talk and its answer."""
    return rng.choice(list(CHAT.items()))
