# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turn missions into rows of tokens with a training weight for every token, and pictures."""

import random
from typing import Iterator, NamedTuple

from missions import Mission, MissionMaker, render, TOOLS_OPENING
from questions import ASKED
from sights import Camera, LONGEST_GAP, Sight, SightMaker, TRAINED_LONGEST_GAP
from tokenizers import Tokenizer
from tool_calls import CallMaker
import torch
from vision import IMAGE_TOKEN
from words import ROOMS

# Answers that depend on what was said before; of these, the first token decides between knowing
# and not knowing, and a number or a room is the place itself; what is left is mostly the name.
CALL_KINDS = {'call', 'call_two', 'call_known', 'call_none', 'result'}
MEMORY_KINDS = {'recall', 'updated', 'unknown', 'go', 'go_unknown', 'other', *CALL_KINDS}
PICTURE_KINDS = {*ASKED, 'unseen'}
DECISION_WEIGHT, PLACE_WEIGHT, MEMORY_WEIGHT = 4.0, 6.0, 2.0
EASY_WEIGHT, PROMPT_WEIGHT, PICTURE_WEIGHT = 0.3, 0.03, 2.0
TOKENS_PER_TURN = 28
# In training more places are rooms than in the held-out missions.
TRAINED_ROOM_SHARE = 0.2


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
        self.places = {i for token, i in tokenizer.get_vocab().items() if token.isdigit()}
        self.places |= {tokenizer.encode(f' {word}', add_special_tokens=False).ids[0]
                        for word in (*ROOMS, 'at', 'in')}

    def encode(self, missions: list[Mission], length: int) -> tuple[Batch, list[Answer]]:
        """Return the batch of the missions, each cut or padded to length + 1 tokens."""
        rendered = [render(mission) for mission in missions]
        texts = [text for parts in rendered for part in parts for text in part[:2]]
        encoded = self._encode(texts)
        ids = torch.zeros(len(missions), length + 1, dtype=torch.long)
        weights = torch.zeros(len(missions), length + 1)
        answers, pictures = [], []
        for row, parts in enumerate(rendered):
            tokens: list[int] = []
            targets: list[float] = []
            full = False
            for turn, (_, _, kind) in zip(missions[row].turns, parts):
                prompt, answer = next(encoded), next(encoded)
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

    def _encode(self, texts: list[str]) -> Iterator[list[int]]:
        """Yield the tokens of every text, cut where the node cuts it."""
        cut = [(before, opening + after) for before, opening, after in
               (text.partition(TOOLS_OPENING) for text in texts)]
        pieces = iter(self.tokenizer.encode_batch([piece for parts in cut for piece in parts],
                                                  add_special_tokens=False))
        for _ in cut:
            yield next(pieces).ids + next(pieces).ids

    def _weigh_prompt(self, prompt: list[int]) -> list[float]:
        return [0.0 if token == IMAGE_TOKEN else PROMPT_WEIGHT for token in prompt]

    def _weigh(self, answer: list[int], kind: str) -> list[float]:
        if kind in PICTURE_KINDS:
            return [PICTURE_WEIGHT] * len(answer)
        if kind not in MEMORY_KINDS:
            return [EASY_WEIGHT] * len(answer)
        return [DECISION_WEIGHT if i == 0 else
                PLACE_WEIGHT if token in self.places else MEMORY_WEIGHT
                for i, token in enumerate(answer)]


def draw(maker: MissionMaker, rng: random.Random, length: int, drills: float,
         moves: float = 0.0) -> Mission:
    """
    Make a mission that fills about `length` tokens, or a drill with that probability.

    In a share `moves` of the other missions, things move again and again.
    """
    turns = length // TOKENS_PER_TURN
    if rng.random() < drills:
        return maker.drill(rng.randint(2, min(8, 2 + length // 64)))
    if moves and rng.random() < moves:
        return maker.moving(turns)
    if rng.random() < 0.7:
        return maker.mixed(turns)
    facts = rng.randint(1, max(2, min(6, turns // 4)))
    gap = rng.randint(0, max(1, turns - 2 * facts - 4))
    return maker.distant(gap, facts, turns - gap - facts)


def batches(encoder: Encoder, seed: int, steps: int, tokens: int, length: int,
            drills: tuple[float, float], sights: float, camera: Camera,
            moves: float = 0.0, calls: float = 0.0) -> Iterator[Batch]:
    """
    Yield training batches of one fixed shape; the share of drills goes from first to last.

    A share `sights` of the rows has pictures; where there are any, only these have drills. A
    share `calls` of the rows has tools; where there are any, only these have drills.
    """
    maker, rng = MissionMaker(seed, room_share=TRAINED_ROOM_SHARE), random.Random(seed)
    # A long row has room for questions many turns after the picture.
    gap = LONGEST_GAP if length <= 512 else TRAINED_LONGEST_GAP
    watcher = SightMaker(rng, maker, camera, gap)
    rows = tokens // length
    watched, called = round(sights * rows), round(calls * rows)
    caller = CallMaker(seed, room_share=TRAINED_ROOM_SHARE)
    for step in range(steps):
        share = drills[0] + (drills[1] - drills[0]) * step / steps
        watched_share = 0.0 if called else share
        missions = [(watcher.drill if rng.random() < watched_share else watcher.mission)(length)
                    for _ in range(watched)]
        missions += [draw(maker, rng, length, 0.0 if watched or called else share, moves)
                     for _ in range(rows - watched - called)]
        missions += [(caller.drill if rng.random() < share else caller.mission)(
            length // TOKENS_PER_TURN) for _ in range(called)]
        yield encoder.encode(missions, length)[0]
