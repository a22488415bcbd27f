# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ask about scenes and answer, in the same words whatever the wording of the question is."""

import random
from typing import NamedTuple

from scenes import COLOURS, Scene, SHAPES

# Slots: {s} a shape, {x} a thing with its article, {t} a shape or a coloured shape.
# The first list of a kind is asked together with the picture, the second one later.
ASKED = {
    'see': (['What do you see?', 'What is in the picture?', 'What can you see?',
             'What do you see in the picture?', 'Describe the picture.', 'Tell me what you see.',
             'What is in this image?', 'What does the camera see?', 'What is this?'],
            ['What did you see?', 'What was in the picture?', 'What did you see in the picture?',
             'What is in the picture?', 'Describe the picture.', 'What did the camera see?',
             'Tell me what you saw in the picture.', 'What was in the last picture?']),
    'colour': (['What colour is the {s}?', 'What is the colour of the {s}?',
                'Tell me the colour of the {s}.', 'Which colour is the {s}?',
                'What colour is the {s} in the picture?', 'What color is the {s}?'],
               ['What colour was the {s} in the picture?', 'What colour was the {s}?',
                'What was the colour of the {s}?', 'What colour is the {s} in the picture?',
                'Which colour was the {s} in the last picture?', 'What color was the {s}?']),
    'place': (['Where is the {t}?', 'Where is the {t} in the picture?',
               'Where in the picture is the {t}?', 'Where do you see the {t}?',
               'Tell me where the {t} is.'],
              ['Where was the {t} in the picture?', 'Where in the picture was the {t}?',
               'Where did you see the {t}?', 'Where is the {t} in the picture?',
               'Where was the {t} in the last picture?']),
    'gauge': (['What does the gauge show?', 'Read the gauge.', 'What is the gauge at?',
               'What is the value of the gauge?', 'How much does the gauge show?'],
              ['What did the gauge show?', 'What was the gauge at?',
               'What was the value of the gauge?', 'How much did the gauge show?',
               'What did the gauge show in the last picture?']),
    'there': (['Is there {x}?', 'Do you see {x}?', 'Is there {x} in the picture?',
               'Can you see {x}?'],
              ['Was there {x}?', 'Did you see {x}?', 'Was there {x} in the picture?',
               'Did you see {x} in the last picture?'])}
SHOWN = ('Remember this picture.', 'This is what the camera sees.', 'Here is a picture.',
         'Look at this.', 'Remember this image.', 'This is a new picture.')
UNSEEN = 'I have not seen a picture.'
# The share of questions about the colour or the place of something that is not there.
ABSENT_SHARE = 0.06


class Question(NamedTuple):
    """A question about a scene, its answer and its kind."""

    text: str
    answer: str
    kind: str


def with_article(colour: str, shape: str) -> str:
    """Return a thing as in 'a red circle'."""
    return f'{"an" if colour == "orange" else "a"} {colour} {shape}'


class Asker:
    """Make questions."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def ask(self, scene: Scene, later: bool) -> Question:
        """Return a question about a scene, together with its picture or later."""
        if scene.gauge:
            kinds, weights = ('gauge', 'see'), (5, 1)
        elif not scene.things:
            kinds, weights = ('see', 'there'), (2, 1)
        elif len({thing.shape for thing in scene.things}) < len(scene.things):
            kinds, weights = ('see', 'place', 'there', 'gauge'), (14, 10, 8, 1)
        else:
            kinds = ('see', 'colour', 'place', 'there', 'gauge')
            weights = (14, 8, 10, 8, 1)
        kind = self.rng.choices(kinds, weights)[0]
        slots, answer = getattr(self, f'_{kind}')(scene)
        return Question(self._say(kind, later, **slots), answer, kind)

    def ask_unseen(self) -> Question:
        """Return a question about a picture when there was none."""
        rng = self.rng
        kind = rng.choice(list(ASKED))
        shape = rng.choice(SHAPES)
        text = self._say(kind, rng.random() < 0.7, s=shape, t=shape,
                         x=with_article(rng.choice(COLOURS), shape))
        return Question(text, UNSEEN, 'unseen')

    def _say(self, kind: str, later: bool, **slots: str) -> str:
        wordings = ASKED[kind][later]
        first = self.rng.random() < 0.3
        return (wordings[0] if first else self.rng.choice(wordings)).format(**slots)

    def _see(self, scene: Scene) -> tuple[dict[str, str], str]:
        names = [with_article(thing.colour, thing.shape) for thing in scene.things]
        if scene.gauge:
            return {}, 'I see a gauge.'
        if not names:
            return {}, 'I see nothing.'
        return {}, f'I see {" and ".join(names)}.'

    def _colour(self, scene: Scene) -> tuple[dict[str, str], str]:
        if self.rng.random() < ABSENT_SHARE:
            return self._absent(scene, 's')
        thing = self.rng.choice(scene.things)
        return {'s': thing.shape}, f'The {thing.shape} is {thing.colour}.'

    def _place(self, scene: Scene) -> tuple[dict[str, str], str]:
        shapes = [thing.shape for thing in scene.things]
        looks = [(thing.colour, thing.shape) for thing in scene.things]
        thing = self.rng.choice(scene.things)
        if looks.count((thing.colour, thing.shape)) > 1 or self.rng.random() < ABSENT_SHARE:
            return self._absent(scene, 't')
        name = f'{thing.colour} {thing.shape}'
        if shapes.count(thing.shape) == 1 and self.rng.random() < 0.7:
            name = thing.shape
        return {'t': name}, f'The {name} is {thing.zone}.'

    def _gauge(self, scene: Scene) -> tuple[dict[str, str], str]:
        return {}, f'The gauge shows {scene.gauge.value}.' if scene.gauge else \
            'There is no gauge in the picture.'

    def _there(self, scene: Scene) -> tuple[dict[str, str], str]:
        rng = self.rng
        looks = {(thing.colour, thing.shape) for thing in scene.things}
        if looks and rng.random() < 0.5:
            look = rng.choice(sorted(looks))
            return self._yes_or_no(look, 'Yes')
        while True:
            look = rng.choice(COLOURS), rng.choice(SHAPES)
            if looks and rng.random() < 0.7:
                near = rng.choice(sorted(looks))
                look = (near[0], look[1]) if rng.random() < 0.5 else (look[0], near[1])
            if look not in looks:
                return self._yes_or_no(look, 'No')

    @staticmethod
    def _yes_or_no(look: tuple[str, str], word: str) -> tuple[dict[str, str], str]:
        name = with_article(*look)
        there = name if word == 'Yes' else f'no {" ".join(look)}'
        return {'x': name}, f'{word}, there is {there}.'

    def _absent(self, scene: Scene, slot: str) -> tuple[dict[str, str], str]:
        shapes = {thing.shape for thing in scene.things}
        shape = self.rng.choice([shape for shape in SHAPES if shape not in shapes])
        return {slot: shape}, f'There is no {shape} in the picture.'
