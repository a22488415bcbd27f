# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""
Make image features resemble words, so that the language model finds what it knows in them.

A feature of a taught tower says what lies at its place, but in a code of its own. Turned so that
it is near the sum of the embeddings of the words for it, a language model learns in a third of
the steps to find the thing that a question is about.
"""

import numpy
from scenes import COLOURS, Scene, SHAPES, ZONES
from sights import Sight
from tokenizers import Tokenizer
import torch
from tower import place_labels, Readers, VALUES
from vision import Eye

# The share of the old feature that stays, for what no word stands for.
REST = 0.08


class Words:
    """The embeddings of the words for what lies at a place."""

    def __init__(self, tokenizer: Tokenizer, table: torch.Tensor) -> None:
        table = table.detach()
        self.hidden = table.shape[1]
        places = {'left', 'right', 'top', 'bottom', 'middle'}
        classes = {'shape': SHAPES, 'colour': COLOURS,
                   'zone': [' '.join(places.intersection(zone.split())) for zone in ZONES],
                   'value': [str(10 * i) for i in range(VALUES)]}
        self.of = {question: torch.stack([
            sum(table[tokenizer.encode(f' {word}', add_special_tokens=False).ids[-1]]
                for word in answer.split()) for answer in answers])
            for question, answers in classes.items()}

    def describe(self, scene: Scene, rows: int, columns: int) -> torch.Tensor:
        """Return the sums of the words for each place [rows * columns, hidden]."""
        sums = torch.zeros(rows * columns, self.hidden)
        labels = place_labels(scene, rows, columns)
        for question, words in self.of.items():
            answers = torch.from_numpy(labels[question][:rows * columns])
            # A gauge has no single word; its value stands for it.
            known = (answers >= 0) & (answers < len(words))
            sums[known] += words[answers[known]]
        return sums


@torch.no_grad()
def use_words(eye: Eye, readers: Readers, words: Words, sights: list[Sight]) -> None:
    """Turn the last layer of the projector, by least squares, and the readers back."""
    seen, said = [], []
    for sight in sights:
        rows, columns = sight.patches.rows // 2, sight.patches.columns // 2
        described = words.describe(sight.scene, rows, columns)
        features = eye.look([sight.patches])[1][0, :rows * columns]
        filled = place_labels(sight.scene, rows, columns)['filled'][:rows * columns] == 1
        kept = torch.from_numpy(filled | (numpy.arange(rows * columns) % 7 == 0))
        seen.append(features[kept])
        said.append(described[kept])
    inputs = torch.cat(seen)
    inputs = torch.cat((inputs, torch.ones(len(inputs), 1)), 1).double()
    solution = torch.linalg.lstsq(inputs, torch.cat(said).double()).solution
    turn, shift = solution[:-1].T + REST * torch.eye(words.hidden), solution[-1]
    layer = eye.projector.linear_2
    layer.weight.copy_(turn @ layer.weight.double())
    layer.bias.copy_(turn @ layer.bias.double() + shift)
    back = torch.linalg.inv(turn)
    for reader in (readers.place, readers.picture):
        reader.bias.sub_((reader.weight.double() @ back @ shift).float())
        reader.weight.copy_(reader.weight.double() @ back)
