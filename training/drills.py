# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make drills: dense exercises of recall, the first thing that the model has to learn.

A model that sees only conversations learns to answer with some place it heard of, and stays
there. Many questions about a few short facts make it bind each entity to its place.
"""

import random

from world import World


def make_drill(rng: random.Random, world: World, facts: int) -> list[tuple[str, str, str]]:
    """Return (user, answer, kind) turns: facts in terse or full form, then many questions."""
    link = rng.choice(('', '', ' at', ' is at', *3 * (' is at waypoint',)))
    article = rng.choice(('', 'The ', 'The '))
    unknown_share = rng.uniform(0.0, 0.6)
    turns: list[tuple[str, str, str]] = []
    lines: list[str] = []
    for count in range(1, facts + 1):
        entity = world.new_entity()
        lines.append(f'{article}{entity}{link} {world.put(entity).value}.')
        if rng.random() < 0.5 or count == facts:
            turns.append((rng.choice((' ', '\n')).join(lines), 'Noted.', 'ack'))
            lines = []
    for _ in range(2 * facts):
        share, known = rng.random(), rng.choice(list(world.places))
        if share < 0.15:
            text = f'{article}{known} moved to waypoint {world.put(known).value}.'
            turns.append((text, 'Updated.', 'ack'))
        elif share < 0.15 + 0.85 * unknown_share:
            entity = world.unknown_entity()
            turns.append((f'Where is the {entity}?', f'I do not know where the {entity} is.',
                          'unknown'))
        else:
            question = f'{known}?' if rng.random() < 0.2 else f'Where is the {known}?'
            turns.append((question, f'{article}{known}{link} {world.places[known].value}.',
                          'recall'))
    return turns
