# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turn missions into rows of tokens with a training weight for every token, and pictures."""

import random
from typing import Iterator, NamedTuple

from missions import Mission, MissionMaker, render
from questions import ASKED
from sights import Camera, LONGEST_GAP, Sight, SightMaker, TRAINED_LONGEST_GAP
from tokenizers import Tokenizer
import torch
from vision import IMAGE_TOKEN

# Answers that depend on what was said before; of these, the first token decides between knowing
# and not knowing, and a number is the place itself.
MEMORY_KINDS = {'recall', 'updated', 'unknown', 'go', 'go_unknown', 'other'}
PICTURE_KINDS = {*ASKED, 'unseen'}
DECISION_WEIGHT, PLACE_WEIGHT, MEMORY_WEIGHT = 4.0, 6.0, 1.0
EASY_WEIGHT, PROMPT_WEIGHT, PICTURE_WEIGHT = 0.3, 0.03, 2.0
TOKENS_PER_TURN = 28


class Batch(NamedTuple):
    """
    Token ids [rows, length + 1] and the weight of each as a target [rows, length + 1].

    The pictures are in the order of their tokens, row by row.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    pictures: list[Sight]


class Answer(NamedTuple):
    """Where an answer lies in its row: tokens first to last - 1, and what kind it is."""

    row: int
    first: int
    last: int
    kind: str


class Encoder:
    """Encode missions with a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.digits = {i for token, i in tokenizer.get_vocab().items() if token.isdigit()}

    def encode(self, missions: list[Mission], length: int) -> tuple[Batch, list[Answer]]:
        """Return the batch of the missions, each cut or padded to length + 1 tokens."""
        rendered = [render(mission) for mission in missions]
        texts = [text for parts in rendered for part in parts for text in part[:2]]
        encoded = iter(self.tokenizer.encode_batch(texts, add_special_tokens=False))
        ids = torch.zeros(len(missions), length + 1, dtype=torch.long)
        weights = torch.zeros(len(missions), length + 1)
        answers, pictures = [], []
        for row, parts in enumerate(rendered):
            tokens: list[int] = []
            targets: list[float] = []
            full = False
            for turn, (_, _, kind) in zip(missions[row].turns, parts):
                prompt, answer = next(encoded).ids, next(encoded).ids
                first, last = len(tokens) + len(prompt), len(tokens) + len(prompt) + len(answer)
                # A picture is never cut: the row ends before it.
                full = full or (turn.picture is not None and last > length + 1)
                if full:
                    continue
                if last <= length + 1:
                    answers.append(Answer(row, first, last, kind))
                if turn.picture is not None:
                    pictures.append(turn.picture)
                tokens += prompt + answer
                targets += self._weigh_prompt(prompt) + self._weigh(answer, kind)
            size = min(len(tokens), length + 1)
            ids[row, :size] = torch.tensor(tokens[:size])
            weights[row, :size] = torch.tensor(targets[:size])
        return Batch(ids, weights, pictures), answers

    def _weigh_prompt(self, prompt: list[int]) -> list[float]:
        return [0.0 if token == IMAGE_TOKEN else PROMPT_WEIGHT for token in prompt]

    def _weigh(self, answer: list[int], kind: str) -> list[float]:
        if kind in PICTURE_KINDS:
            return [PICTURE_WEIGHT] * len(answer)
        if kind not in MEMORY_KINDS:
            return [EASY_WEIGHT] * len(answer)
        return [DECISION_WEIGHT if i == 0 else
                PLACE_WEIGHT if token in self.digits else MEMORY_WEIGHT
                for i, token in enumerate(answer)]


def draw(maker: MissionMaker, rng: random.Random, length: int, drills: float) -> Mission:
    """Make a mission that fills about `length` tokens, or a drill with that probability."""
    turns = length // TOKENS_PER_TURN
    if rng.random() < drills:
        return maker.drill(rng.randint(2, min(8, 2 + length // 64)))
    if rng.random() < 0.7:
        return maker.mixed(turns)
    facts = rng.randint(1, max(2, min(6, turns // 4)))
    gap = rng.randint(0, max(1, turns - 2 * facts - 4))
    return maker.distant(gap, facts, turns - gap - facts)


def batches(encoder: Encoder, seed: int, steps: int, tokens: int, length: int,
            drills: tuple[float, float], sights: float, camera: Camera) -> Iterator[Batch]:
    """
    Yield training batches of one fixed shape; the share of drills goes from first to last.

    A share `sights` of the rows has pictures; where there are any, only these have drills.
    """
    maker, rng = MissionMaker(seed), random.Random(seed)
    # A long row has room for questions many turns after the picture.
    gap = LONGEST_GAP if length <= 512 else TRAINED_LONGEST_GAP
    watcher = SightMaker(rng, maker, camera, gap)
    rows = tokens // length
    watched = round(sights * rows)
    for step in range(steps):
        share = drills[0] + (drills[1] - drills[0]) * step / steps
        missions = [(watcher.drill if rng.random() < share else watcher.mission)(length)
                    for _ in range(watched)]
        missions += [draw(maker, rng, length, 0.0 if watched else share)
                     for _ in range(rows - watched)]
        yield encoder.encode(missions, length)[0]
